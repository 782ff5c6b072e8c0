"""The closed list of transforms that a recipe may put together to views, each with its arguments and their ranges.

Names and arguments are those of albumentations 2.0; nothing here names a module or is looked up in one.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from finetune.recipe.section import Conflict, Section

Chance = Annotated[float, Field(gt=0, le=1, description="share of views that it changes")]
Part = Annotated[float, Field(ge=0, le=1)]
Ratio = Annotated[float, Field(ge=0.1, le=10)]
Factor = Annotated[float, Field(ge=0, le=4)]
Change = Annotated[float, Field(ge=-1, le=1)]
Degree = Annotated[float, Field(ge=-180, le=180)]
Hue = Annotated[float, Field(ge=-0.5, le=0.5)]
Bits = Annotated[int, Field(ge=1, le=7)]
Quality = Annotated[int, Field(ge=1, le=100)]
Gamma = Annotated[float, Field(ge=1, le=1000)]
Clip = Annotated[float, Field(ge=1, le=100)]
Sigma = Annotated[float, Field(ge=0.1, le=20)]
Kernel = Annotated[int, Field(ge=3, le=31)]
Holes = Annotated[int, Field(ge=1, le=64)]
Padding = Annotated[int, Field(ge=0, le=64, description="pixels of the mean colour on each side, before the crop")]
Area = Annotated[float, Field(ge=0.01, le=1)]


class _Ranged(Section):
    """What all transforms have in common: pairs are ranges to draw from."""

    name: str = ""

    def conflicts(self) -> Iterator[Conflict]:
        for key in type(self).model_fields:
            value = getattr(self, key)
            if isinstance(value, tuple) and value[0] > value[1]:
                yield (key,), f"{key} is a range from low to high, and {value[0]:g} is above {value[1]:g}"


class _Sometimes(_Ranged):
    p: Chance = 0.5


class RandomResizedCrop(_Ranged):
    """Some share of the area in some shape, anywhere, scaled to the network's input."""

    name: Literal["RandomResizedCrop"] = "RandomResizedCrop"
    scale: tuple[Area, Area] = (0.35, 1.0)
    ratio: tuple[Ratio, Ratio] = (0.75, 4 / 3)


class RandomCrop(_Ranged):
    """A square of the network's input anywhere in the working image, as it is, or in one with so many pixels of the
    mean colour around it: what the network is given as zeros (He et al. 2015, Deep Residual Learning, section 4.2).
    """

    name: Literal["RandomCrop"] = "RandomCrop"
    padding: Padding = 0


class CenterCrop(_Ranged):
    """The square that is evaluated."""

    name: Literal["CenterCrop"] = "CenterCrop"


class HorizontalFlip(_Sometimes):
    """Left and right change places."""

    name: Literal["HorizontalFlip"] = "HorizontalFlip"


class VerticalFlip(_Sometimes):
    """Top and bottom change places."""

    name: Literal["VerticalFlip"] = "VerticalFlip"


class Transpose(_Sometimes):
    """Rows become columns."""

    name: Literal["Transpose"] = "Transpose"


class RandomRotate90(_Sometimes):
    """By none to three quarters of a turn."""

    name: Literal["RandomRotate90"] = "RandomRotate90"


class Rotate(_Sometimes):
    """By some degrees about the centre; what comes into view is black."""

    name: Literal["Rotate"] = "Rotate"
    limit: tuple[Degree, Degree] = (-15.0, 15.0)


class Affine(_Sometimes):
    """Scaled, moved (in shares of the sides), turned and sheared (in degrees)."""

    name: Literal["Affine"] = "Affine"
    scale: tuple[Ratio, Ratio] = (1.0, 1.0)
    translate_percent: tuple[Change, Change] = (0.0, 0.0)
    rotate: tuple[Degree, Degree] = (0.0, 0.0)
    shear: tuple[Annotated[float, Field(ge=-80, le=80)], Annotated[float, Field(ge=-80, le=80)]] = (0.0, 0.0)

    def conflicts(self) -> Iterator[Conflict]:
        yield from super().conflicts()
        if (self.scale, self.translate_percent, self.rotate, self.shear) == ((1, 1), (0, 0), (0, 0), (0, 0)):
            yield (), "Affine without scale, translate_percent, rotate or shear has no effect"


class Perspective(_Sometimes):
    """Seen from another side: corners moved by up to these shares of the sides."""

    name: Literal["Perspective"] = "Perspective"
    scale: tuple[Part, Part] = (0.05, 0.1)


class ColorJitter(_Sometimes):
    """Brightness, contrast and saturation multiplied, hue turned (0.5 is half of the circle)."""

    name: Literal["ColorJitter"] = "ColorJitter"
    brightness: tuple[Factor, Factor] = (0.8, 1.2)
    contrast: tuple[Factor, Factor] = (0.8, 1.2)
    saturation: tuple[Factor, Factor] = (0.8, 1.2)
    hue: tuple[Hue, Hue] = (0.0, 0.0)


class RandomGamma(_Sometimes):
    """Intensities to the power of a hundredth of this."""

    name: Literal["RandomGamma"] = "RandomGamma"
    gamma_limit: tuple[Gamma, Gamma] = (80.0, 120.0)


class CLAHE(_Sometimes):
    """Histograms equalised within tiles, contrast limited."""

    name: Literal["CLAHE"] = "CLAHE"
    clip_limit: tuple[Clip, Clip] = (1.0, 4.0)


class ToGray(_Sometimes):
    """Without colour."""

    name: Literal["ToGray"] = "ToGray"


class ChannelShuffle(_Sometimes):
    """Red, green and blue change places."""

    name: Literal["ChannelShuffle"] = "ChannelShuffle"


class InvertImg(_Sometimes):
    """The negative."""

    name: Literal["InvertImg"] = "InvertImg"


class Posterize(_Sometimes):
    """Fewer bits per channel."""

    name: Literal["Posterize"] = "Posterize"
    num_bits: tuple[Bits, Bits] = (4, 7)


class Solarize(_Sometimes):
    """Intensities above a threshold, a share of white, become their negative."""

    name: Literal["Solarize"] = "Solarize"
    threshold_range: tuple[Part, Part] = (0.5, 1.0)


class Equalize(_Sometimes):
    """Histograms equalised."""

    name: Literal["Equalize"] = "Equalize"


class AutoContrast(_Sometimes):
    """The darkest becomes black and the lightest white."""

    name: Literal["AutoContrast"] = "AutoContrast"


class Sharpen(_Sometimes):
    """Mixed with a sharpened copy, by these shares of it."""

    name: Literal["Sharpen"] = "Sharpen"
    alpha: tuple[Part, Part] = (0.2, 0.5)


class GaussianBlur(_Sometimes):
    """Blurred, by standard deviations in pixels."""

    name: Literal["GaussianBlur"] = "GaussianBlur"
    sigma_limit: tuple[Sigma, Sigma] = (0.5, 3.0)


class MotionBlur(_Sometimes):
    """Blurred along a line of so many pixels."""

    name: Literal["MotionBlur"] = "MotionBlur"
    blur_limit: tuple[Kernel, Kernel] = (3, 7)


class GaussNoise(_Sometimes):
    """Noise, by standard deviations in shares of white."""

    name: Literal["GaussNoise"] = "GaussNoise"
    std_range: tuple[Part, Part] = (0.02, 0.1)


class ImageCompression(_Sometimes):
    """Once through JPEG."""

    name: Literal["ImageCompression"] = "ImageCompression"
    quality_range: tuple[Quality, Quality] = (50, 95)


class CoarseDropout(_Sometimes):
    """Black rectangles, their sides in shares of the view's."""

    name: Literal["CoarseDropout"] = "CoarseDropout"
    num_holes_range: tuple[Holes, Holes] = (1, 2)
    hole_height_range: tuple[Area, Area] = (0.1, 0.2)
    hole_width_range: tuple[Area, Area] = (0.1, 0.2)

    def conflicts(self) -> Iterator[Conflict]:
        yield from super().conflicts()
        for key in ("hole_height_range", "hole_width_range"):
            if 1 in getattr(self, key):  # which albumentations takes for one pixel
                yield (key,), f"{key} stays below 1: a whole side would leave nothing to see"


class Erasing(_Sometimes):
    """One rectangle of noise, of this share of the area and this width to height."""

    name: Literal["Erasing"] = "Erasing"
    scale: tuple[Area, Area] = (0.02, 0.33)
    ratio: tuple[Ratio, Ratio] = (0.3, 3.3)

    def conflicts(self) -> Iterator[Conflict]:
        yield from super().conflicts()
        largest = min(self.ratio[0], 1 / self.ratio[1])  # of a square, that every such rectangle may have
        if self.scale[0] > 0.99 * largest:
            yield ("scale",), f"scale begins at {self.scale[0]:g}, and such a ratio leaves no more than {largest:.2g}"


CROPS = (RandomResizedCrop, RandomCrop, CenterCrop)

Transform = Annotated[
    RandomResizedCrop
    | RandomCrop
    | CenterCrop
    | HorizontalFlip
    | VerticalFlip
    | Transpose
    | RandomRotate90
    | Rotate
    | Affine
    | Perspective
    | ColorJitter
    | RandomGamma
    | CLAHE
    | ToGray
    | ChannelShuffle
    | InvertImg
    | Posterize
    | Solarize
    | Equalize
    | AutoContrast
    | Sharpen
    | GaussianBlur
    | MotionBlur
    | GaussNoise
    | ImageCompression
    | CoarseDropout
    | Erasing,
    Field(discriminator="name"),
]
