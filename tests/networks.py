"""The architecture of a small network, for tests."""

from typing import Any


def architecture(encoder: str = "resnet18", **changes: Any) -> dict[str, Any]:
    base = {
        "name": "concat_unet",
        "encoder": encoder,
        "decoder_channels": [32, 16, 16, 16, 16],
        "projection": 4,
        "dropout": 0.2,
        "attention": None,
    }
    return {**base, **changes}
