"""People cut out of photos: `from personseg import Segmenter`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from personseg.segmenter import Segmentation, Segmenter

__all__ = ["Segmentation", "Segmenter"]


def __getattr__(name: str) -> Any:
    # Imported when asked for: the stages and `personseg --help` have no use for it.
    if name in __all__:
        from personseg import segmenter

        return getattr(segmenter, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
