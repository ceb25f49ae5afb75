"""Sweeps over Dyna on Ray Tune."""

__all__ = ["early_stopping", "sweep"]
