"""The network, and the folder a trained one is saved in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from torch import Tensor, nn

from personseg.errors import UserError
from personseg.files import fresh_folder, sha256_file, write_json
from personseg.model_config import CONFIG_FILE, WEIGHTS_FILE, ModelConfig, check_weights, read_config
from personseg.report_unet import ReportUnet
from personseg.weights import IMAGENET_MEAN, IMAGENET_STD, build_encoder, normalisation


class ConcatUnet(nn.Module):
    """Unet whose decoder blocks' outputs are ALL concatenated before the final convolutions (the report's idea).

    The first final convolution is 1x1, and a 1x1 convolution of a concatenation is the sum of one 1x1
    convolution per part, which also commutes with bilinear upsampling. So every output (after its
    dropout2d) is convolved to `projection` channels at its own resolution and the sums are upsampled from
    coarse to fine: the same function as concatenating all outputs at the last one's resolution, at a fraction of
    the cost. ReLU and a 3x3 convolution to one channel follow.

    Every block doubles the resolution. With four of them instead of five the decoder ends at half the photo's, where
    the most pixels and so the dearest convolutions would come next, and its logits are upsampled.

    Input float32 [N, 3, H, W], RGB in 0..255, H and W multiples of 32 (normalisation happens inside);
    output logits float32 [N, 1, H, W]. `attention` is None or "scse" (smp's decoder attention). With
    `flip_average` a network in eval mode gives the mean of its logits for the photo and the mirrored photo, whose
    padding (columns of 0) stays on the right.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        decoder_channels: list[int],
        projection: int,
        dropout: float,
        attention: str | None,
        mean: list[float],
        std: list[float],
        flip_average: bool = False,
    ) -> None:
        super().__init__()
        self.flip_average = flip_average
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.encoder = encoder
        self.decoder = UnetDecoder(
            encoder_channels=encoder.out_channels,
            decoder_channels=decoder_channels,
            n_blocks=len(decoder_channels),
            attention_type=attention,
        )
        self.dropout = nn.Dropout2d(dropout)
        # One bias is enough for the sum.
        self.joins = nn.ModuleList(
            nn.Conv2d(channels, projection, 1, bias=i == 0) for i, channels in enumerate(decoder_channels)
        )
        self.head = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(projection, 1, 3, padding=1))

    def decode(self, features: list[Tensor]) -> list[Tensor]:
        """Run the decoder; return every block's output, deepest first ([N, C_i, H / 2^k, W / 2^k])."""
        shapes = [feature.shape[2:] for feature in features[::-1]]
        skips = features[1:][::-1]
        x = self.decoder.center(skips[0])
        outputs = []
        for i, block in enumerate(self.decoder.blocks):
            skip = skips[i + 1] if i + 1 < len(skips) else None
            x = block(x, shapes[i + 1][0], shapes[i + 1][1], skip_connection=skip)
            outputs.append(x)
        return outputs

    def join(self, outputs: list[Tensor]) -> Tensor:
        """Convolve the concatenation of all decoder outputs, deepest first, to [N, projection, h, w] of the last."""
        joined = self.joins[0](self.dropout(outputs[0]))
        for join, output in zip(self.joins[1:], outputs[1:], strict=True):
            joined = F.interpolate(joined, size=output.shape[2:], mode="bilinear", align_corners=False)
            joined = joined + join(self.dropout(output))
        return joined

    def features(self, x: Tensor) -> list[Tensor]:
        """The encoder's features of photos: [N, C_i, H / 2^i, W / 2^i] for i = 0 (the input itself) to 5."""
        features: list[Tensor] = self.encoder((x - self.mean) / self.std)
        return features

    def logits(self, features: list[Tensor]) -> Tensor:
        """Map features to logits of the resolution that the decoder ends at."""
        logits: Tensor = self.head(self.join(self.decode(features)))
        return logits

    def both(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Photos' features and, once, not mirrored, their logits: two results of one pass."""
        features = self.features(x)
        return features, enlarge(self.logits(features), x)

    def plain(self, x: Tensor) -> Tensor:
        """Map photos, not mirrored, to logits of the resolution that the decoder ends at."""
        return self.logits(self.features(x))

    def coarse(self, x: Tensor) -> Tensor:
        """Map photos to logits as `forward` does, before they are enlarged to the photo's size."""
        once = self.plain(x)
        if self.training or not self.flip_average:
            return once
        coarser = x.shape[-1] // once.shape[-1]
        width = photo_width(x, coarser)
        return (once + mirror(self.plain(mirror(x, width)), width // coarser)) / 2

    def forward(self, x: Tensor) -> Tensor:
        """Map photos to logits; shapes as in the class docstring."""
        return enlarge(self.coarse(x), x)


def photo_width(images: Tensor, step: int) -> Tensor:
    """Columns of each of `images` [N, 3, H, W] before the padding, which is 0, rounded up to whole `step`s; int64 [N].

    A black edge of the photo counts as padding.
    """
    numbers = torch.arange(1, images.shape[-1] + 1, device=images.device)
    last = (numbers * (images.amax(dim=(1, 2)) > 0)).amax(dim=-1)
    return (last + step - 1) // step * step


def mirror(values: Tensor, width: Tensor) -> Tensor:
    """Mirror `values` [N, C, H, W] left to right within the first `width` (int64 [N]) columns; the rest stays behind.

    Padding on the other side is what no network here has seen in training. Mirrored twice, everything is as it was.
    """
    columns = torch.arange(values.shape[-1], device=values.device)
    source = width[:, None] - 1 - columns
    source = torch.where(source < 0, source + values.shape[-1], source)
    return values.gather(-1, source[:, None, None, :].expand(-1, *values.shape[1:]))


def enlarge(logits: Tensor, images: Tensor) -> Tensor:
    """Enlarge logits [N, 1, h, w] bilinearly to the size of `images` [N, 3, H, W]; those of that size stay."""
    size = images.shape[2:]
    if logits.shape[2:] == size:
        return logits
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


def build_model(architecture: dict[str, Any], weights: str = "none") -> nn.Module:
    """Build a network from its architecture: name, encoder, decoder_channels, projection, dropout, attention.

    `weights` initialises the encoder (see `personseg.weights.build_encoder`). Optional mean and std, in
    0..255 per channel, default to those of the encoder's own training; optional flip_average to False.
    """
    name = architecture["name"]
    if name == "report_unet":
        return ReportUnet(architecture["dropout"], IMAGENET_MEAN, IMAGENET_STD, weights)
    if name != "concat_unet":
        raise UserError(f"model.name: {name!r} is not an architecture; known: concat_unet, report_unet")
    mean, std = normalisation(architecture["encoder"])
    return ConcatUnet(
        build_encoder(architecture["encoder"], weights),
        list(architecture["decoder_channels"]),
        architecture["projection"],
        architecture["dropout"],
        architecture["attention"],
        architecture.get("mean", mean),
        architecture.get("std", std),
        architecture.get("flip_average", False),
    )


def start_from(network: nn.Module, folder: str) -> nn.Module:
    """Give `network` the weights of the finished model in `folder`; UserError if they are another network's."""
    try:
        network.load_state_dict(load_file(check_weights(folder, read_config(folder))))
    except (RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"model.weights: {folder} is another network than section model describes ({reason})") from None
    return network


def report_unet() -> nn.Module:
    """Return the report's own network with random weights, in eval mode."""
    return build_model({"name": "report_unet", "dropout": 0.5}).eval()


def save_model(folder: str | Path, model: nn.Module, config: ModelConfig) -> None:
    """Write model.safetensors and config.json (with the weights' sha256) as one whole folder."""
    with fresh_folder(folder) as temporary:
        state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
        try:
            save_file(state, temporary / WEIGHTS_FILE)
        except SafetensorError as error:  # a full disk, told by a library of its own
            raise OSError(f"{temporary / WEIGHTS_FILE}: {error}") from None
        digest = sha256_file(temporary / WEIGHTS_FILE)
        write_json(temporary / CONFIG_FILE, config.model_copy(update={"sha256": digest}).model_dump(mode="json"))


def load_model(folder: str | Path, **changes: Any) -> tuple[nn.Module, ModelConfig]:
    """Load a saved network in eval mode with its configuration; `changes` are of architecture keys without weights.

    UserError when a file is missing, the weights are not the ones config.json was written with, or its architecture
    is not theirs.
    """
    config = read_config(folder)
    weights = check_weights(folder, config)
    config = config.model_copy(update={"architecture": {**config.architecture, **changes}})
    try:
        model = build_model(config.architecture)
        model.load_state_dict(load_file(weights), strict=True)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, SafetensorError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"{folder}: {CONFIG_FILE} does not fit the weights ({reason}); copy or train it anew") from None
    return model.eval(), config
