"""The `pixel` family: DIAMOND's diffusion model of the next frame (Alonso et al., 2024)."""
