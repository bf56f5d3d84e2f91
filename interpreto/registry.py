"""The attribution methods, with the properties that the command line, the documentation and the contract tests read.

A new method is added here once. Importing this module loads neither torch nor the methods, so that the command line's
help is quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class MethodSummary:
    """Properties of one attribution method.

    Attributes:
        name: Its class, importable from ``interpreto``.
        evidence: What it reads from the model: ``"scores"`` of masked inputs, ``"gradients"`` at the embeddings,
            ``"attention"``, or ``"feature maps"`` of a layer.
        signed: Whether values say in which direction a unit moves the score; else they are magnitudes.
        passes: Forward (and, with gradients, backward) passes per input of ``u`` units, at the defaults.
        sums_to: The identity that the values of a target satisfy exactly or in the limit; empty: none.
        sampled: Whether values are estimates that come with standard errors.
        source: The paper.
        url: Its address.
        inputs: What it explains at the defaults.
    """

    name: str
    evidence: Literal["scores", "gradients", "attention", "feature maps"]
    signed: bool
    passes: str
    sums_to: str
    sampled: bool
    source: str
    url: str
    inputs: tuple[Literal["texts", "images"], ...] = ("texts", "images")

    @property
    def slug(self) -> str:
        """Return the name on the command line: ``KernelShap`` is ``kernel-shap``."""
        return "".join(f"-{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(self.name))


METHODS = (
    MethodSummary(
        "Occlusion", "scores", True, "u + 1", "", False, "Zeiler and Fergus, 2014", "https://arxiv.org/abs/1311.2901"
    ),
    MethodSummary("Lime", "scores", True, "max(200, 4u)", "", True, "Ribeiro et al., 2016", "https://arxiv.org/abs/1602.04938"),
    MethodSummary(
        "KernelShap",
        "scores",
        True,
        "max(500, 2u); 2^u if fewer",
        "f(x) − f(all masked)",
        True,
        "Lundberg and Lee, 2017",
        "https://arxiv.org/abs/1705.07874",
    ),
    MethodSummary("Sobol", "scores", False, "32 (u + 2)", "", True, "Fel et al., 2021", "https://arxiv.org/abs/2111.04138"),
    MethodSummary(
        "ExactShapley",
        "scores",
        True,
        "2^u",
        "f(x) − f(all masked)",
        False,
        "Shapley, 1953",
        "https://doi.org/10.1515/9781400881970-018",
    ),
    MethodSummary(
        "PartitionShap",
        "scores",
        True,
        "max(500, 4u)",
        "f(x) − f(all masked)",
        False,
        "Owen, 1977",
        "https://doi.org/10.1007/978-3-642-45494-3_7",
    ),
    MethodSummary(
        "PermutationShap",
        "scores",
        True,
        "max(500, 8u); 2^u if fewer",
        "f(x) − f(all masked)",
        True,
        "Castro et al., 2009",
        "https://doi.org/10.1016/j.cor.2008.04.004",
    ),
    MethodSummary(
        "Banzhaf",
        "scores",
        True,
        "max(500, 8u); 2^u if fewer",
        "",
        True,
        "Wang and Jia, 2023",
        "https://arxiv.org/abs/2205.15466",
    ),
    MethodSummary("GLime", "scores", True, "max(200, 4u)", "", True, "Tan et al., 2023", "https://arxiv.org/abs/2311.15722"),
    MethodSummary(
        "LimeWithPrior",
        "scores",
        True,
        "max(200, 4u)",
        "",
        True,
        "Li et al., 2023",
        "https://doi.org/10.1016/j.artint.2022.103823",
    ),
    MethodSummary(
        "Rise", "scores", False, "max(200, 4u)", "", True, "Petsiuk et al., 2018", "https://arxiv.org/abs/1806.07421"
    ),
    MethodSummary(
        "ContextCite",
        "scores",
        True,
        "64",
        "",
        True,
        "Cohen-Wang et al., 2024",
        "https://arxiv.org/abs/2409.00729",
        inputs=("texts",),
    ),
    MethodSummary("ReAGent", "scores", False, "300", "", False, "Zhao and Shan, 2024", "https://arxiv.org/abs/2402.00794"),
    MethodSummary("Saliency", "gradients", False, "1", "", False, "Simonyan et al., 2013", "https://arxiv.org/abs/1312.6034"),
    MethodSummary(
        "InputXGradient", "gradients", True, "1", "", False, "Shrikumar et al., 2016", "https://arxiv.org/abs/1605.01713"
    ),
    MethodSummary(
        "IntegratedGradients",
        "gradients",
        True,
        "32",
        "f(x) − f(baseline), in the limit",
        False,
        "Sundararajan et al., 2017",
        "https://arxiv.org/abs/1703.01365",
    ),
    MethodSummary("SmoothGrad", "gradients", False, "32", "", True, "Smilkov et al., 2017", "https://arxiv.org/abs/1706.03825"),
    MethodSummary("SquareGrad", "gradients", False, "32", "", True, "Hooker et al., 2019", "https://arxiv.org/abs/1806.10758"),
    MethodSummary("VarGrad", "gradients", False, "32", "", True, "Adebayo et al., 2018", "https://arxiv.org/abs/1810.03307"),
    MethodSummary(
        "GradientShap",
        "gradients",
        True,
        "32",
        "f(x) − f(baseline), in the limit",
        True,
        "Lundberg and Lee, 2017; Erion et al., 2021",
        "https://arxiv.org/abs/1906.10670",
    ),
    MethodSummary("RawAttention", "attention", False, "1", "", False, "Clark et al., 2019", "https://arxiv.org/abs/1906.04341"),
    MethodSummary(
        "AttentionRollout", "attention", False, "1", "", False, "Abnar and Zuidema, 2020", "https://arxiv.org/abs/2005.00928"
    ),
    MethodSummary(
        "GenericAttention", "attention", False, "1", "", False, "Chefer et al., 2021", "https://arxiv.org/abs/2103.15679"
    ),
    MethodSummary(
        "TransitionAttention",
        "attention",
        False,
        "20 + 1",
        "",
        False,
        "Yuan et al., 2021",
        "https://openreview.net/forum?id=TT-cf6QSDaQ",
    ),
    MethodSummary(
        "BidirectionalAttention",
        "attention",
        False,
        "20 + 1",
        "",
        False,
        "Chen et al., 2023",
        "https://openreview.net/forum?id=rm0zIzlhcX",
    ),
    MethodSummary(
        "ValueZeroing", "attention", False, "u + 1", "", False, "Mohebbi et al., 2023", "https://arxiv.org/abs/2301.12971"
    ),
    MethodSummary("At2", "attention", True, "1", "", False, "Cohen-Wang et al., 2025", "https://arxiv.org/abs/2504.13752"),
    MethodSummary("Alti", "attention", False, "1", "", False, "Ferrando et al., 2022", "https://arxiv.org/abs/2203.04212"),
    MethodSummary(
        "ExpectedGradients",
        "gradients",
        True,
        "64",
        "f(x) − mean f(background), in the limit",
        True,
        "Erion et al., 2021",
        "https://arxiv.org/abs/1906.10670",
        inputs=("texts",),
    ),
    MethodSummary(
        "AttnLrp",
        "gradients",
        True,
        "1",
        "f(x) with frozen attention, without biases",
        False,
        "Achtibat et al., 2024",
        "https://arxiv.org/abs/2402.05602",
    ),
    MethodSummary(
        "DeepLift",
        "gradients",
        True,
        "2",
        "f(x) − f(baseline)",
        False,
        "Shrikumar et al., 2017",
        "https://arxiv.org/abs/1704.02685",
    ),
    MethodSummary(
        "DeepLiftShap",
        "gradients",
        True,
        "16",
        "f(x) − mean f(background)",
        True,
        "Lundberg and Lee, 2017",
        "https://arxiv.org/abs/1705.07874",
        inputs=("texts",),
    ),
    MethodSummary(
        "Lrp",
        "gradients",
        True,
        "1",
        "f(x) without biases, of networks of convolutions",
        False,
        "Montavon et al., 2019",
        "https://doi.org/10.1007/978-3-030-28954-6_10",
        inputs=("images",),
    ),
    MethodSummary(
        "GradCam",
        "feature maps",
        False,
        "3",
        "",
        False,
        "Selvaraju et al., 2017",
        "https://arxiv.org/abs/1610.02391",
        inputs=("images",),
    ),
    MethodSummary(
        "LayerCam",
        "feature maps",
        False,
        "3",
        "",
        False,
        "Jiang et al., 2021",
        "https://doi.org/10.1109/TIP.2021.3089943",
        inputs=("images",),
    ),
    MethodSummary(
        "ScoreCam",
        "feature maps",
        False,
        "64 + 4",
        "",
        False,
        "Wang et al., 2020",
        "https://arxiv.org/abs/1910.01279",
        inputs=("images",),
    ),
    MethodSummary(
        "Cam",
        "feature maps",
        True,
        "3",
        "f(x) − f(without the maps)",
        False,
        "Zhou et al., 2016",
        "https://arxiv.org/abs/1512.04150",
        inputs=("images",),
    ),
)
"""Every method, in the order in which they are listed."""
TEXT_METHODS = tuple(method for method in METHODS if "texts" in method.inputs)
IMAGE_METHODS = tuple(method for method in METHODS if "images" in method.inputs)


def find_method(name: str) -> MethodSummary | None:
    """Return the method with this class name or command-line name; None if there is none."""
    return next((method for method in METHODS if name in (method.name, method.slug)), None)
