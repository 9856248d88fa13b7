"""Training of an image victim."""

from typing import Any, Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR

from lightning_extract.data.image_data import ImageData
from lightning_extract.errors import InputError
from lightning_extract.networks import build_classifier
from lightning_extract.victims.augmentation import random_crop, random_horizontal_flip
from lightning_extract.victims.card import check_normalisation
from lightning_extract.victims.classifier_training import ClassifierTraining
from lightning_extract.victims.normalise import Normalise
from lightning_extract.victims.saving import save_victim


class VictimTraining(ClassifierTraining):
    """Trains a classifier of images with labels and writes its final weights, or its best ones, and its card.

    The test accuracy chooses nothing. It is logged each epoch, unless a share of the training images is kept apart:
    then their accuracy is, and with a patience the best epoch by it is written. Random draws of an epoch hang on
    (seed, epoch, rank), so a run that resumes at an epoch equals one that was never interrupted.

    Reference:
        Defaults: Fang et al., Data-Free Adversarial Distillation, official ``train_teacher.py``, where the victims of
        DFME and DisGUIDE come from.

    *Deviations*: cosine instead of that code's optional step schedule; final instead of best-on-test weights.

    Args:
        network: Name of the victim's network, one of networks.CLASSIFIERS: resnet34_8x, resnet20, lenet5, cnn_3_2, ...
        num_classes: Number of classes of the data.
        mean: Channel means of the data, of images in [0, 1].
        std: Channel deviations of the same.
        victim_dir: Folder to write the victim to.
        channels: 1 (grey) or 3 (colour).
        image_size: Height and width in pixels.
        crop_padding: Pixels of black added on each side before a random crop; 0 switches it off.
        horizontal_flip: Mirror every second image at random.
        label_smoothing: Share of the target spread over all classes, in [0, 1).
        optimizer: Of the network's weights.
        lr_scheduler: Of the learning rate; constant when null.
        lr_interval: Step the scheduler once an epoch or once a step.
        patience: Epochs without a better validation accuracy before training stops; the best weights are written then.
            Needs the data's validation_share. Null writes the final weights.
        dropout: Probability of the network's dropout layers; the network's own when null.
        overwrite: Replace another victim in victim_dir.

    Raises:
        InputError: An argument does not fit the network or the data, or victim_dir holds another victim.
    """

    def __init__(
        self,
        network: str,
        num_classes: int,
        mean: list[float],
        std: list[float],
        victim_dir: str,
        channels: int = 3,
        image_size: int = 32,
        crop_padding: int = 4,
        horizontal_flip: bool = True,
        label_smoothing: float = 0.0,
        optimizer: OptimizerCallable = lambda parameters: SGD(parameters, lr=0.1, momentum=0.9, weight_decay=5e-4),
        lr_scheduler: LRSchedulerCallable | None = lambda optimizer: CosineAnnealingLR(optimizer, T_max=200),
        lr_interval: Literal["epoch", "step"] = "epoch",
        patience: int | None = None,
        dropout: float | None = None,
        overwrite: bool = False,
    ) -> None:
        check_normalisation(tuple(mean), tuple(std), channels)
        if crop_padding < 0:
            raise InputError(f"crop_padding is {crop_padding}, it must be at least 0 pixels")
        if not 0 <= label_smoothing < 1:
            raise InputError(f"label_smoothing is {label_smoothing}, it must lie in [0, 1)")
        # Faster for convolutions, most of all in bfloat16 (1.4 times for cnn_3_2 on one CPU core).
        classifier = build_classifier(network, num_classes, channels, image_size).to(memory_format=torch.channels_last)
        training = optimizer, lr_scheduler, lr_interval, overwrite
        super().__init__(classifier, network, num_classes, victim_dir, dropout, patience, *training)
        self.channels, self.image_size = channels, image_size
        self.mean, self.std = tuple(mean), tuple(std)
        self.crop_padding, self.horizontal_flip = crop_padding, horizontal_flip
        self.label_smoothing = label_smoothing
        self.normalise = Normalise(self.mean, self.std)

    @property
    def data(self) -> ImageData:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, ImageData):
            raise InputError("an image victim is trained with the data module ImageData; give it as data.class_path")
        return data

    def encode(self, samples: Tensor) -> Tensor:
        """Normalised images, of images in [-1, 1]."""
        normalised: Tensor = self.normalise(samples)
        return normalised

    def loss(self, samples: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of augmented images."""
        if self.crop_padding:
            samples = random_crop(samples, self.crop_padding)
        if self.horizontal_flip:
            samples = random_horizontal_flip(samples)
        return cross_entropy(self(samples), labels, label_smoothing=self.label_smoothing)

    def on_fit_start(self) -> None:
        for name in ("channels", "image_size"):
            if getattr(self, name) != getattr(self.data, name):
                raise InputError(
                    f"the victim's {name} is {getattr(self, name)}, that of data set {self.data.dataset} is "
                    f"{getattr(self.data, name)}; give both the same"
                )
        super().on_fit_start()

    def own_recipe(self) -> dict[str, Any]:
        return {
            "crop_padding": self.crop_padding,
            "horizontal_flip": self.horizontal_flip,
            "label_smoothing": self.label_smoothing,
        }

    def save(self, network: nn.Module, test_accuracy: float, recipe: dict[str, Any]) -> None:
        save_victim(
            self.victim_dir,
            network,
            network=self.network_name,
            num_classes=self.num_classes,
            channels=self.channels,
            image_size=self.image_size,
            dataset=self.data.dataset,
            mean=self.mean,
            std=self.std,
            test_accuracy=test_accuracy,
            recipe=recipe,
        )
