"""The `latent` family: diffusion of the next latent."""
