"""The schedule of a training run, as a TOML file or as these defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from otters_lab.core.notify import NotifyTable
from otters_lab.core.tomlfile import StrictModel, load_model, read_toml
from otters_lab.ttfs.config import CodeConfig

WARM_UP = 0.05  # share of a stage's steps over which the learning rate rises


class ShapeConfig(StrictModel):
    """The shape of teacher and student."""

    hidden: int = Field(64, ge=8)
    layers: int = Field(2, ge=1)
    heads: int = Field(4, ge=1)
    feed_forward: int = Field(128, ge=8)
    patch: list[int] = Field(default_factory=lambda: [1, 8], min_length=2, max_length=2)  # pixels: height, width

    @model_validator(mode="after")
    def _heads_divide(self) -> ShapeConfig:
        if self.hidden % self.heads:
            raise ValueError(f"hidden = {self.hidden} is not a multiple of heads = {self.heads}")
        return self


class JitterConfig(StrictModel):
    """Random moves of the training images."""

    shift_px: float = Field(0.5, ge=0)
    turn_rad: float = Field(0.2, ge=0)
    zoom: float = Field(0.1, ge=0, lt=1)


class ReadingConfig(StrictModel):
    """How levels are read off the calibrated device (see `DeviceModel.reader`)."""

    sampler: Literal["parametric", "empirical"] = "parametric"
    first_read_s: float = Field(0.0, ge=0)  # delay of the read of level 0 behind the light's edge
    read_noise: bool = False  # adds the lab meter's noise
    ticks: int | None = Field(None, ge=1)  # of the clock, in a window
    adc_bits: int | None = Field(None, ge=1, le=16)
    adc_noise: float = Field(0.0, ge=0)  # sd of a reading, in units of O
    drift_h: float = 0.0  # since the calibration


class ChecksConfig(StrictModel):
    """Validation scores while something is trained, and when they end it.

    Every `check_every` steps, and after the last one, the validation part is scored; what is kept in the end is then
    what scored best (of equals the first), not what came last. With `patience`, training ends after so many checks in
    a row without a better score. Without `check_every`, all steps are taken and the last is kept.
    """

    check_every: int | None = Field(None, ge=1)
    patience: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _patient_with_checks(self) -> Self:
        if self.patience is not None and self.check_every is None:
            raise ValueError(f"patience = {self.patience} counts checks, but there is no check_every")
        return self


class TeacherConfig(ChecksConfig):
    """Supervised training of the full-precision teacher."""

    base: str = "minilm"  # pre-trained encoder of text tasks: a folder, a name of the hub, or minilm
    trained: str | None = None  # a checkpoint of the same task, whose teacher is taken as it is
    steps: int = Field(1200, ge=1)
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    label_smoothing: float = Field(0.1, ge=0, lt=1)


class StageConfig(ChecksConfig):
    """One stage of the student's training: which approximations are on, and how much device noise at its end.

    The learning rates decay to 0 within the stage. Scales that the stage switches on are set from statistics first.
    `noise` is the multiple of the reader's noise that the stage ends with (it ramps up from 0, or from the stage
    before, over the first `ramp` share of the steps). A linear input or query that fires more than `rail_rate` spikes a
    rail (two rails: twice that a neuron) pays for it. Examples are drawn in proportion to their tokens to the power
    `length_power` (0: each once an epoch), where short rows are many and long ones are what counts. Of a text's words
    a share `swapped` is put in place of others of the batch, for teacher and student: the student learns the teacher's
    answers to texts that nobody labelled, where there are too few that somebody did. Checks are scored under the noise
    that the stage ends with; a stage that ends early hands on as if it had taken all its steps.
    """

    name: str
    steps: int = Field(ge=1)
    lr: float = Field(gt=0)
    scale_lr: float = Field(1e-3, gt=0, le=2e-3)
    activations: bool = True
    weights: bool = False
    states: bool = False
    noise: float = Field(0.0, ge=0)
    learn: Literal["all", "scales"] = "all"
    ramp: float = Field(0.5, ge=0, le=1)
    rail_rate: float = Field(1.0, gt=0, le=1)
    length_power: float = Field(0.0, ge=0)
    swapped: float = Field(0.0, ge=0, lt=1)


def _stages() -> list[StageConfig]:
    return [
        StageConfig(name="activations", steps=300, lr=1e-3),
        StageConfig(name="weights", steps=800, lr=2e-3, weights=True),
        StageConfig(name="states", steps=800, lr=2e-3, weights=True, states=True),
        StageConfig(name="hybrid", steps=600, lr=1e-3, weights=True, states=True, noise=1.0),
    ]


class TrainingConfig(StrictModel):
    """Everything that decides a training run, besides the task and the device; and who is told when it has ended, which
    no record of the run holds.
    """

    seed: int = Field(0, ge=0)
    threads: int = Field(1, ge=1)  # of torch; more than one does not pay at this size, and changes the last digits
    batch: int = Field(64, ge=1)
    precision: Literal["float32", "bfloat16", "auto"] = "float32"  # of training's products; auto: as the CPU has them
    student: str | None = None  # a checkpoint of the same task, whose student is trained on, by its own teacher
    layers: str | None = None  # a checkpoint or packed student of any task: the student starts with its layers
    data: str | None = None  # the folder of a text task's data
    max_tokens: int = Field(128, ge=4)  # longer texts are cut
    learn_devices: bool = False  # training noise is of another device an example, too, not of its runs alone
    hidden_weight: float = Field(5.0, ge=0)  # of the relative hidden-state error, against the soft cross-entropy
    temperature: float = Field(1.0, gt=0)
    shape: ShapeConfig = ShapeConfig()
    jitter: JitterConfig = JitterConfig()
    code: CodeConfig = CodeConfig()
    reading: ReadingConfig = ReadingConfig()
    teacher: TeacherConfig = TeacherConfig()
    stages: list[StageConfig] = Field(default_factory=_stages, min_length=1)
    notify: NotifyTable | None = Field(default=None, exclude=True)

    @model_validator(mode="after")
    def _starts_once(self) -> TrainingConfig:
        if self.student and self.layers:
            raise ValueError(f'student = "{self.student}" has layers of its own; layers = "{self.layers}" is of no use')
        return self

    @model_validator(mode="after")
    def _ends_whole(self) -> TrainingConfig:
        last = self.stages[-1]
        if not (last.activations and last.weights and last.states):
            raise ValueError(f'the last stage, "{last.name}", must have activations, weights and states on')
        return self


def once_more(config: TrainingConfig, **changes: Any) -> StageConfig:
    """The last stage again, without its checks: all its steps are taken."""
    return config.stages[-1].model_copy(update={"check_every": None, "patience": None, **changes})


def read_config(path: Path, defaults: TrainingConfig | None = None) -> TrainingConfig:
    """A training configuration from TOML; what it leaves out is as in `defaults`, table by table.

    Raises
    ------
    InputError
        for a file that is not there or not valid.
    """
    source = read_toml(path)
    found = load_model(TrainingConfig, source)
    if defaults is None:
        return found
    return load_model(TrainingConfig, source._replace(data=_over(defaults.model_dump(), source.data)))


def _over(lower: dict[str, Any], upper: dict[str, Any]) -> dict[str, Any]:
    """The lower table with what the upper says put over it."""
    both = {name: value for name, value in lower.items() if value is not None} | upper
    for name, value in upper.items():
        if isinstance(value, dict) and isinstance(lower.get(name), dict):
            both[name] = _over(lower[name], value)
    return both
