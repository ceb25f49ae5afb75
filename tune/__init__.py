"""Sweeps over Dyna on Ray Tune."""

__all__ = ["sweep"]
