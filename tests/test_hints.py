"""A teacher's features reach a training that asks for them, and leave the teacher as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from personseg.errors import UserError
from personseg.hints import Hints
from personseg.images import write_image, write_mask
from personseg.model import build_model, report_unet, save_model
from personseg.model_config import ModelConfig
from personseg.probability import write_probability
from personseg.taught import Taught
from personseg.training import seed_everything, train_network
from tests.networks import architecture

SIZE = (64, 64)
TEACHER = architecture("tu-tf_efficientnet_lite0", decoder_channels=[16, 16, 8, 8], dropout=0.0)
TRAIN = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))["train"]


def test_a_student_comes_nearer_to_its_teacher_which_does_not_move() -> None:
    seed_everything(0)
    teacher, student = build_model(TEACHER, "imagenet"), build_model(architecture("resnet18"))
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    hints = Hints(teacher, student).train()
    weights = [p for p in [*student.parameters(), *hints.parameters()] if p.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=0.003)
    images = torch.rand(4, 3, *SIZE) * 255
    distances = []
    for _ in range(25):
        distance = hints(images, student.features(images))
        optimizer.zero_grad()
        distance.backward()
        optimizer.step()
        distances.append(distance.item())
    # Standardised features are as far from 0 as their variance, 1, says.
    assert distances[0] > 0.9 and distances[-1] < 0.6 * distances[0]
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    for stem in "012345":
        image = torch.randint(0, 90, (60, 52, 3), generator=generator, dtype=torch.uint8).numpy()
        mask = torch.zeros(60, 52, dtype=torch.bool).numpy()
        mask[10:44, 6 + int(stem) : 32] = True
        image[mask] += 130
        write_image(tmp_path / "images" / f"{stem}.jpg", image)
        write_mask(tmp_path / "masks" / f"{stem}.jpg", mask)
        (tmp_path / "taught/soft").mkdir(parents=True, exist_ok=True)
        write_probability(tmp_path / "taught/soft" / f"{stem}.png", mask.astype("float32"))
    seed_everything(0)
    save_model(tmp_path / "taught/model", build_model(TEACHER), ModelConfig(architecture=TEACHER, input_size=SIZE))
    return tmp_path


def test_hints_change_what_is_learned_and_nothing_else_of_the_network(folders: Path) -> None:
    train = {**TRAIN, "epochs": 2, "batch_size": 2, "workers": 0}
    stems = {"train": list("0123"), "val": list("45")}
    learned = []
    for hints in (0.0, 1.0):
        seed_everything(0)
        network = build_model(architecture("resnet18"))
        names = list(network.state_dict())
        taught = Taught(folders / "taught", 0.5, 1.0, [], hints)
        state = folders / f"state{hints}"
        state.mkdir()
        network, history, _ = train_network(network, folders, stems, SIZE, train, state, taught=taught)
        assert list(network.state_dict()) == names and len(history) == 2
        learned.append(network.state_dict()["encoder.layer4.0.conv1.weight"])
    assert not torch.equal(*learned)


def test_other_networks_take_no_hints() -> None:
    with pytest.raises(UserError, match=r"teacher\.hints: only a concat_unet"):
        Hints(build_model(TEACHER), report_unet())
