"""Sweeps over Dyna on Ray Tune."""
