"""params.yaml as one checked model. No key has a default here: params.yaml alone decides."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from personseg.errors import UserError

MAX_VALUES = 10_000  # in params.yaml, aliases followed
SHOWN = 120  # characters of a wrong value

Probability = Annotated[float, Field(ge=0, le=1)]
Natural = Annotated[int, Field(ge=0, le=10**9)]  # generators take no seed above 2**32
Positive = Annotated[int, Field(ge=1, le=10**9)]


def _holds_bool(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_bool, value.values()))
    return isinstance(value, bool) or (isinstance(value, list) and any(map(_holds_bool, value)))


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def no_bool_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false where Python would take them for 1 and 0."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        nested = isinstance(annotation, type) and issubclass(annotation, Section)
        if annotation is not bool and not nested and _holds_bool(value):
            raise ValueError("should not be true or false")
        return value

    def must_rise(self, low: str, high: str) -> None:
        """ValueError unless the value of `low` is below that of `high`."""
        if not getattr(self, low) < getattr(self, high):
            raise ValueError(f"{low} should be below {high}")


Loss = Literal["focal", "bce", "dice", "jaccard", "lovasz", "structure"]


class Data(Section):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    source: Annotated[str, Field(min_length=1)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None


class Sample(Section):
    count: Annotated[int, Field(ge=10, le=10**6)]
    seed: Natural
    defect_fraction: Probability


class Convert(Section):
    jpeg_quality: Annotated[int, Field(ge=1, le=100)]
    max_reject_fraction: Probability
    max_megapixels: Annotated[float, Field(gt=0)]
    workers: Positive


class Folds(Section):
    seed: Natural
    count: Annotated[int, Field(ge=2)]
    epochs: Positive
    batch_size: Positive
    learning_rate: Annotated[float, Field(gt=0)]
    encoder: str
    weights: str
    decoder_channels: Annotated[list[Positive], Field(min_length=5, max_length=5)]
    input_size: Annotated[list[Annotated[int, Field(ge=32, multiple_of=32)]], Field(min_length=2, max_length=2)]
    hash_distance: Annotated[int, Field(ge=0, le=32)]
    at_once: Positive | Literal["auto"]
    workers: Positive


class AuditLimits(Section):
    coverage_min: Probability
    coverage_max: Probability
    gap_width: Annotated[float, Field(gt=0, le=14)]
    wide_gap_width: Annotated[float, Field(gt=0, le=14)]
    hair_gap: Annotated[float, Field(gt=0)]
    spots: Annotated[float, Field(gt=0)]
    holes: Annotated[float, Field(gt=0)]
    ragged_edge: Annotated[float, Field(gt=0)]
    extra_background: Annotated[float, Field(gt=0)]
    missing_part: Annotated[float, Field(gt=0)]
    severe: Annotated[float, Field(gt=1)]

    @model_validator(mode="after")
    def limits_rise(self) -> Self:
        self.must_rise("coverage_min", "coverage_max")
        self.must_rise("gap_width", "wide_gap_width")
        return self


class Audit(Section):
    workers: Positive
    worst: Natural
    limits: AuditLimits


class Filter(Section):
    workers: Positive
    repair: bool


class Split(Section):
    seed: Natural
    workers: Positive
    val_fraction: Annotated[float, Field(gt=0, lt=1)]
    test_fraction: Annotated[float, Field(gt=0, lt=1)]
    hash_distance: Annotated[int, Field(ge=0, le=32)]


class Model(Section):
    name: Literal["concat_unet", "report_unet"]
    encoder: str
    weights: str
    decoder_channels: Annotated[list[Positive], Field(min_length=4, max_length=5)]
    projection: Positive
    dropout: Annotated[float, Field(ge=0, lt=1)]
    attention: Literal["scse"] | None
    input_size: Annotated[list[Annotated[int, Field(ge=32, multiple_of=32)]], Field(min_length=2, max_length=2)]

    @model_validator(mode="after")
    def report_unet_is_as_it_was(self) -> Self:
        if self.attention and self.name == "report_unet":
            raise ValueError("attention is not for report_unet")
        return self


class Augment(Section):
    copy_paste: Probability
    far_away: Probability
    hflip: Probability
    vflip: Probability
    elastic: Probability
    elastic_alpha: Annotated[float, Field(gt=0)]
    elastic_sigma: Annotated[float, Field(gt=0)]
    shift_scale_rotate: Probability
    shift: Annotated[float, Field(ge=0, lt=1)]
    scale: Annotated[float, Field(ge=0, lt=1)]
    rotate: Annotated[float, Field(ge=0, le=180)]
    jpeg: Probability
    jpeg_quality: Annotated[list[Annotated[int, Field(ge=1, le=100)]], Field(min_length=2, max_length=2)]
    brightness_contrast: Probability
    brightness: Probability
    contrast: Probability
    low_light: Probability
    hue_saturation: Probability
    hue: Annotated[float, Field(ge=0, le=180)]
    saturation: Annotated[float, Field(ge=0, le=255)]
    gray: Probability
    blur: Probability
    noise: Probability

    @model_validator(mode="after")
    def one_scene_each(self) -> Self:
        if self.copy_paste + self.far_away > 1:
            raise ValueError("copy_paste and far_away should not sum to more than 1")
        return self

    @field_validator("jpeg_quality")
    @classmethod
    def lowest_first(cls, value: list[int]) -> list[int]:
        if value[0] > value[1]:
            raise ValueError("should be [lowest, highest]")
        return value


class Teacher(Section):
    model: str | None
    epochs: Positive
    labelled_share: Annotated[float, Field(gt=0, le=1)]
    weight: Probability
    hints: Annotated[float, Field(ge=0)]
    mediapipe: str | None
    mediapipe_share: Probability
    workers: Positive

    @model_validator(mode="after")
    def second_beside_a_first(self) -> Self:
        if self.mediapipe and not self.model:
            raise ValueError("mediapipe joins a teacher: name one in teacher.model, say `self`")
        if self.hints and not self.model:
            raise ValueError("hints are a teacher's: name one in teacher.model, say `self`")
        return self


class Train(Section):
    seed: Natural
    epochs: Positive
    batch_size: Positive
    loss: dict[Loss, Annotated[float, Field(ge=0)]]
    focal_gamma: Annotated[float, Field(ge=0)]
    optimizer: Literal["adamw", "sgd"]
    learning_rate: Annotated[float, Field(gt=0)]
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    gradient_clip: Annotated[float, Field(ge=0)]
    schedule: Literal["one_cycle", "plateau"]
    warmup_fraction: Annotated[float, Field(gt=0, lt=1)]
    plateau_factor: Annotated[float, Field(gt=0, lt=1)]
    plateau_patience: Natural
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    patience: Positive
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
    channels_last: bool
    accelerator: str
    devices: Positive | Literal["auto"]
    num_nodes: Positive
    strategy: Literal["auto", "ddp"]
    workers: Natural
    augment: Augment

    @field_validator("loss")
    @classmethod
    def some_loss(cls, value: dict[Loss, float]) -> dict[Loss, float]:
        if not any(value.values()):
            raise ValueError("at least one weight should be above 0")
        return value


class Calibrate(Section):
    flip_average: bool
    min_object: Annotated[list[Natural], Field(min_length=1)]
    min_hole: Annotated[list[Natural], Field(min_length=1)]


class Evaluate(Section):
    seed: Natural
    bootstrap: Annotated[int, Field(ge=100)]
    overlays: Natural


class Export(Section):
    calibration_images: Positive
    max_iou_drop: Annotated[float, Field(ge=0, le=1)]
    threads: Positive


class Benchmark(Section):
    backends: Annotated[list[Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]], Field(min_length=1)]
    runs: Annotated[int, Field(ge=20)]
    warmup_runs: Annotated[int, Field(ge=10)]
    warmup_s: Annotated[float, Field(ge=0.2)]
    max_seconds: Annotated[float, Field(gt=0)]
    threads: Positive


class Report(Section):
    title: Annotated[str, Field(min_length=1)]
    worst: Natural
    sheets: Natural
    overlays: Natural


class Track(Section):
    experiment: Annotated[str, Field(min_length=1, max_length=500)]


class Params(Section):
    data: Data
    sample: Sample
    convert: Convert
    folds: Folds
    audit: Audit
    filter: Filter
    split: Split
    model: Model
    teacher: Teacher
    train: Train
    calibrate: Calibrate
    evaluate: Evaluate
    export: Export
    benchmark: Benchmark
    report: Report
    track: Track

    def network(self) -> dict[str, Any]:
        """Section model, and what stage calibrate makes of its network."""
        return {**self.model.model_dump(), "flip_average": self.calibrate.flip_average}

    @model_validator(mode="after")
    def report_unet_is_as_it_was(self) -> Self:
        for key, asked in (
            ("teacher.hints", self.teacher.hints),
            ("calibrate.flip_average", self.calibrate.flip_average),
        ):
            if asked and self.model.name == "report_unet":
                raise ValueError(f"{key} is not for model.name report_unet")
        return self


def _shown(value: Any) -> str:
    """A given value, short enough for one line."""
    try:
        text = repr(value)
    except ValueError:  # a number of more digits than Python prints
        return "a number of thousands of digits"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _check_amount(values: Any, path: Path) -> None:
    """UserError if there are more values than params can be: aliases in YAML multiply, or hold themselves."""
    waiting, count = [values], 0
    while waiting:
        value = waiting.pop()
        count += 1
        if count > MAX_VALUES:
            raise UserError(f"{path}: more than {MAX_VALUES} values; an alias (*name) that repeats itself?")
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple | set):
            waiting.extend(value)


def describe(error: ValidationError) -> str:
    """One line for the first fault: the key's full name, what is wrong, how many more there are."""
    # A misspelt key is also a missing one: the name that stands in the file helps more.
    first, *rest = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in first["loc"] if part != "[key]") or "the whole file"
    reason = {"extra_forbidden": "unknown key", "missing": "missing key"}.get(first["type"], first["msg"])
    given = "" if first["type"] in ("missing", "extra_forbidden") else f" (got {_shown(first['input'])})"
    more = f"; and {len(rest)} more" if rest else ""
    return f"{key}: {reason}{given}{more}"


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check params.yaml; UserError names the key that is unknown, missing or impossible."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run from the project's folder") from None
    # ValueError: not UTF-8, or a date that cannot be; the others: odd tables and sets, and lists in lists in lists.
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: not valid YAML: {error}") from None
    _check_amount(values, path)
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{path}: {describe(error)}") from None
