"""Which architecture belongs to which family of residual networks, or of their relatives: one table.

The families are told apart by their names, whole: the first pattern that fits decides. What fits none has no family.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """`key` names it in commands; `title` says what its members share; `source` is the paper; `pattern` fits names."""

    key: str
    title: str
    source: str
    pattern: str


FAMILIES = (
    Family("v1", "ResNet of basic or bottleneck blocks", "He et al. 2015", r"resnet\d+(_gn)?"),
    Family(
        "v1d",
        "ResNet-C, -S, -T, -D with deeper stems",
        "He et al. 2018",
        r"resnet\d+(c|d|s|t|ts|q)",
    ),
    Family("v2", "ResNet with pre-activation", "He et al. 2016", r"resnetv2_\d+[dt]?(_evos|_frn|_gn)?"),
    Family("bit", "BiT, v2 of group norm, trained on large sets", "Kolesnikov et al. 2019", r"resnetv2_\d+x\d_bit"),
    Family("wide", "Wide ResNet", "Zagoruyko and Komodakis 2016", r"wide_resnet.*"),
    Family(
        "se",
        "ResNet and ResNeXt with Squeeze-and-Excitation",
        "Hu et al. 2017",
        r"(legacy_)?(sere(snet|snext)|senet).*",
    ),
    Family("resnext", "ResNeXt of grouped convolutions", "Xie et al. 2016", r"resnext.*"),
    Family("eca", "ResNet and ResNeXt with Efficient Channel Attention", "Wang et al. 2019", r"eca_?res(net|next).*"),
    Family("resnest", "ResNeSt with split attention", "Zhang et al. 2020", r"resnest.*"),
    Family("rs", "ResNet-RS, scaled and trained anew", "Bello et al. 2021", r"resnetrs.*"),
    Family("sk", "ResNet and ResNeXt with Selective Kernels", "Li et al. 2019", r"skresne(t|xt).*"),
    Family("res2net", "Res2Net with several scales in a block", "Gao et al. 2019", r"res2ne(t|xt).*"),
    Family("aa", "ResNet, anti-aliased", "Zhang 2019", r"resnet(aa|blur).*"),
    Family("nf", "ResNet without normalisation", "Brock et al. 2021", r"nf_(se|eca)?resnet.*"),
    Family(
        "attention", "ResNet with other attention", "Cao et al. 2019", r"(gcresne(t|xt)|bat_resnext|lambda_resnet).*"
    ),
    Family("csp", "ResNet and ResNeXt, cross-stage partial", "Wang et al. 2019", r"cspresne(t|xt).*"),
    Family("clip", "ResNet of CLIP with attention pooling", "Radford et al. 2021", r"resnet\d+(x\d+)?_clip.*"),
    Family("cifar", "made for CIFAR, 32 pixels, and plain ones", "He et al. 2015 and 2016", r"cifar_.*"),
    Family("densenet", "DenseNet, densely connected", "Huang et al. 2016", r"densenet.*"),
    Family("regnet", "RegNet, designed by rule", "Radosavovic et al. 2020", r"regnet.*"),
)


def of(name: str) -> str | None:
    """The key of the family of an architecture."""
    return next((one.key for one in FAMILIES if re.fullmatch(one.pattern, name)), None)
