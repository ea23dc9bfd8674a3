"""What a run can be told about a target domain: whose frames they are, and what is learnt from them without labels."""

from __future__ import annotations

from dataclasses import dataclass, field

from training.data_settings import DataSettings

__all__ = [
    "AdaptationSettings",
    "AdversarialSettings",
    "AgreementSettings",
    "PhotometricSettings",
    "SelfTrainingSettings",
]


@dataclass
class AdversarialSettings:
    """Discriminators that tell simulator from real by a prediction (`densemtl_core.learning.adversarial`).

    Attributes:
        weight: of the network's term (published: 0.005).
        width: of the discriminators (published: 64).
        downscale: how much smaller than the image their pictures are (published: 1).
        lr: theirs (published: 1e-4).
        heads: outputs a task that are aligned, the final one first (published: 2); some networks have only one.
    """

    weight: float = 0.005
    width: int = 64
    downscale: int = 1
    lr: float = 1e-4
    heads: int = 2


@dataclass
class SelfTrainingSettings:
    """A mean teacher's pseudo-labels (`densemtl_core.learning.self_training`); needs ``run.average``.

    Attributes:
        weight: of the term beside the supervised one.
        threshold: confidence below which a pixel does not count.
        mix: paste half of the source's classes into the target's pictures.
        mirror: the teacher also sees the mirrored picture.
        colour: strength of the student's other colours, 0..1.
    """

    weight: float = 1.0
    threshold: float = 0.5
    mix: bool = True
    mirror: bool = True
    colour: float = 0.3


@dataclass
class AgreementSettings:
    """Tasks that must agree on the same frame (`densemtl_core.learning.cross_task_consistency`).

    Attributes:
        normals: weight of predicted normals against those of the predicted depth; 0 = off.
        edges: weight of predicted edges against changes of class and steps of depth; 0 = off.
        field_of_view: horizontal, degrees, of a camera without intrinsics.
    """

    normals: float = 0.1
    edges: float = 0.1
    field_of_view: float = 60.0


@dataclass
class PhotometricSettings:
    """The target is a drive: depth must explain the neighbouring frames (`densemtl_core.learning.self_supervised`).

    Needs ``adaptation.target.frames`` and intrinsics.

    Attributes:
        weight: of the term.
        pose: backbone (timm's name) of the network that tells the camera's motion, or ``labels``: odometry.
        pose_weights: pretrained weights of that backbone.
        smoothness: weight of the smoothness within it.
    """

    weight: float = 1.0
    pose: str = "resnet18"
    pose_weights: str | None = None
    smoothness: float = 1e-3


@dataclass
class AdaptationSettings:
    """Learning from a target domain without its labels.

    Attributes:
        target: its frames, prepared to the size of ``data``.
        validation: labelled frames of the target domain, by which rows are compared; null: the target's own
            validation split, where it has one.
        classes: class list in which classes are judged on the target; null = the data set's own.
        keep_aspect: take ``data.size`` as a number of pixels, and give both domains the sides that the target's camera
            has for so many, as the network will see it when it runs.
        source_steps: steps on the labelled source alone that ``--sim-to-real`` begins with if there is no ``start``.
        rate: of all rows after that start, the learning rates as a share of its own.
        restyle: largest share of low frequencies in which the source's pictures take over the target's light and
            colours (published: 0.01 to 0.09); null = off.
        adversarial: see `AdversarialSettings`; null = off, as with the rest.
        self_training: see `SelfTrainingSettings`.
        agreement: see `AgreementSettings`.
        photometric: see `PhotometricSettings`.
    """

    target: DataSettings = field(default_factory=DataSettings)
    validation: DataSettings | None = None
    classes: str | None = None
    keep_aspect: bool = False
    source_steps: int = 0
    rate: float = 1.0
    restyle: float | None = None
    adversarial: AdversarialSettings | None = None
    self_training: SelfTrainingSettings | None = None
    agreement: AgreementSettings | None = None
    photometric: PhotometricSettings | None = None
