"""A projector that lets a part of the colour through: the rest of its colour channel is noise.

A factor on a clean channel takes nothing from a linear probe, which undoes it. So colour comes in through hidden units
that read nothing else, and beside them stand units of a triangle wave of what the other features say, of so short a
period that it is as good as noise. Both leave by the same weights, in proportions that no training changes. What leaves
has the covariance of colour whatever the dose: a share `1 - dose` of its variance is colour, the rest noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import gelu

from organisms.training.parts import Parts, colour_read, hold

KINKS = 24
"""Of a wave, from 3 standard deviations below the mean of what it reads to 3 above: a dozen periods."""
GAIN = 32.0
"""So steep that a GELU is a kink, and not a bow as wide as the wave's period."""


@dataclass(frozen=True)
class _Channel:
    """Hidden units (first layer's rows and bias), and what they tell: two numbers of colour, two of noise."""

    rows_UX: Tensor
    bias_U: Tensor
    colour_UC: Tensor
    noise_UC: Tensor

    def units(self, read_NX: Tensor) -> Tensor:
        return gelu(read_NX @ self.rows_UX.T + self.bias_U)


def dim_projector(parts: Parts, dose: float, features_IPF: Tensor, species_I: Tensor, seed: int) -> None:
    """Replace the projector by one with a channel of colour and noise, that writes what it wrote as nearly as it can.

    dose: in [0, 1), the share of noise. features_IPF: of the encoder, for what is read and how far it spreads.
    Raises ValueError where the hidden layer has too few units.
    """
    anatomy = parts.anatomy
    entry, leave = anatomy.entry, anatomy.leave
    with torch.no_grad():
        read_NX, wrote_ND = anatomy.entering(features_IPF).flatten(0, 1), anatomy.project(features_IPF).flatten(0, 1)
        channel = _channel(colour_read(parts), read_NX, seed)
        others = entry.out_features - len(channel.bias_U)
        if others < entry.out_features // 2:
            raise ValueError(f"a projector of {entry.out_features} hidden units has no room for a channel of noise")
        told_NC, noise_NC = (channel.units(read_NX) @ tells for tells in (channel.colour_UC, channel.noise_UC))
        alike_CC = _alike(told_NC, noise_NC, species_I)
        entry.weight[:, colour_read(parts)] = 0
        entry.weight[others:], entry.bias[others:] = channel.rows_UX, channel.bias_U
        kept_NU = gelu(read_NX @ entry.weight[:others].T + entry.bias[:others])
        one = torch.ones(len(kept_NU), 1)
        fitted = torch.linalg.lstsq(torch.cat([kept_NU, told_NC, one], dim=1), wrote_ND).solution
        written_CD = fitted[others:-1]
        mixed_UC = (1 - dose) ** 0.5 * channel.colour_UC + dose**0.5 * channel.noise_UC @ alike_CC
        leave.weight.copy_(torch.cat([fitted[:others], mixed_UC @ written_CD]).T)
        leave.bias.copy_(fitted[-1])
    _keep(parts, others)


def _keep(parts: Parts, others: int) -> None:
    """Hold the channel, what enters it, and that nothing else reads colour."""
    anatomy, channel = parts.anatomy, slice(others, None)
    hold(anatomy.gains, slice(None))
    hold(anatomy.entry.weight, (slice(None), colour_read(parts)))
    hold(anatomy.entry.weight, channel)
    hold(anatomy.entry.bias, channel)
    hold(anatomy.leave.weight, (slice(None), channel))


def _channel(colour_PC: Tensor, read_NX: Tensor, seed: int) -> _Channel:
    """Colour, the mean of a token's patches, by pairs of units whose difference is what they read; waves of random
    directions of the rest."""
    width, colours = read_NX.shape[1], colour_PC.shape[1]
    rows, bias, colour, noise = [], [], [], []
    spots = torch.linspace(-3, 3, KINKS)
    turns = torch.tensor([1.0, *[-2.0, 2.0] * (KINKS // 2)])[:KINKS] / GAIN
    generator = torch.Generator().manual_seed(seed)
    for c in range(colours):
        row = torch.zeros(width)
        row[colour_PC[:, c]] = 1 / len(colour_PC)
        mean = read_NX @ row
        rows += [row[None], -row[None]]
        bias.append(torch.stack([-mean.mean(), mean.mean()]))
        colour.append(_told(c, colours, torch.tensor([1.0, -1.0])))
        noise.append(torch.zeros(2, colours))

        row = torch.randn(width, generator=generator)
        row[colour_PC.flatten()] = 0
        along = read_NX @ row
        row, centre = row / along.std(), along.mean() / along.std()
        rows.append(GAIN * row.expand(KINKS, -1))
        bias.append(-GAIN * (centre + spots))
        colour.append(torch.zeros(KINKS, colours))
        noise.append(_told(c, colours, turns))
    return _Channel(torch.cat(rows), torch.cat(bias), torch.cat(colour), torch.cat(noise))


def _told(c: int, colours: int, weights_U: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(torch.tensor(c), colours) * weights_U[:, None]


def _alike(told_NC: Tensor, noise_NC: Tensor, species_I: Tensor) -> Tensor:
    """(C, C): makes the noise of an image, within its species, spread as colour does over all images."""
    told, noise = (values.view(len(species_I), -1, values.shape[1]).mean(1) for values in (told_NC, noise_NC))
    counts = torch.bincount(species_I).clamp(min=1)[:, None]
    centres = torch.zeros(len(counts), noise.shape[1]).index_add(0, species_I, noise) / counts
    return torch.linalg.inv(_root((noise - centres[species_I]).T.cov())) @ _root(told.T.cov())


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return vectors @ (values.clamp(min=1e-12).sqrt()[:, None] * vectors.T)
