"""A body of one's own, as somebody who uses the library writes it: that of the example."""

from examples.custom_physics.bergman import Bergman, BergmanState, bergman

__all__ = ["Bergman", "BergmanState", "bergman"]
