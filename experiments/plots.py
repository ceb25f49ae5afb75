"""Plots as they look everywhere in this project."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure


def plot(x: str, y: str) -> tuple[Figure, Axes]:
    """An empty plot whose axes are labelled `x` and `y`."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    return figure, axes
