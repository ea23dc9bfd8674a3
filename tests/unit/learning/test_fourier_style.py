"""Source pictures in the target's light: against a full spectrum in NumPy, and what must and must not change."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from densemtl_core.learning.fourier_style import fourier_style

SIZES = [(32, 48), (33, 47), (48, 32), (31, 32), (40, 40)]


def pictures(count: int, size: tuple[int, int], seed: int, low: float = 0.3, high: float = 0.7) -> torch.Tensor:
    """With coarse and fine content, and room below and above: nothing is cut off."""
    g = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 3, 4, generator=g)
    smooth = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")
    return low + (high - low) * (0.7 * smooth + 0.3 * torch.rand(count, 3, *size, generator=g))


def by_the_full_spectrum(source: np.ndarray, target: np.ndarray, share: float) -> np.ndarray:
    """One channel: both spectra with zero in the middle, a square of amplitudes exchanged there."""
    height, width = source.shape
    reach = int(np.floor(share * min(height, width)))
    own, other = (np.fft.fftshift(np.fft.fft2(x.astype(np.float64))) for x in (source, target))
    amplitude, y, x = np.abs(own), height // 2, width // 2
    square = np.s_[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
    amplitude[square] = np.abs(other)[square]
    mixed = np.fft.ifft2(np.fft.ifftshift(amplitude * np.exp(1j * np.angle(own))))
    assert np.abs(mixed.imag).max() < 1e-9, "the square is its own mirror image, so a picture comes out"
    return np.clip(mixed.real, 0, 1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.05, 0.09, 0.3, 0.5])
def test_against_the_full_spectrum(size, share):
    source, target = pictures(2, size, 0), pictures(2, size, 1, 0.1, 0.6)
    styled = fourier_style(source, target, share)
    assert styled.shape == source.shape
    assert styled.dtype == source.dtype
    for image, other, got in zip(source.numpy(), target.numpy(), styled.numpy(), strict=True):
        expected = np.stack([by_the_full_spectrum(a, b, share) for a, b in zip(image, other, strict=True)])
        np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("share", [0.0, 0.09, 0.5])
def test_its_own_style_changes_nothing(size, share):
    source = pictures(2, size, 0)
    torch.testing.assert_close(fourier_style(source, source, share), source, atol=1e-5, rtol=0)


def test_a_share_of_zero_exchanges_the_mean_colour_alone():
    source, target = pictures(2, (32, 48), 0, 0.4, 0.6), pictures(2, (32, 48), 1, 0.3, 0.5)
    styled = fourier_style(source, target, 0.0)
    means = [x.mean(dim=(-2, -1), keepdim=True) for x in (source, target)]
    torch.testing.assert_close(styled, source - means[0] + means[1], atol=1e-5, rtol=0)


def test_outlines_stay():
    """A wide share takes over the amplitudes and leaves the phases."""
    source, target = pictures(1, (32, 48), 0), pictures(1, (32, 48), 1)
    styled = fourier_style(source, target, 0.2)
    assert not torch.allclose(styled, source, atol=0.02)
    spectra = [torch.fft.rfft2(x)[..., 1:5, 1:5] for x in (styled, source)]
    turn = (spectra[0] / spectra[1]).angle().abs().max()
    assert turn < 1e-2


def test_stays_in_range():
    torch.manual_seed(0)
    dark, bright = torch.rand(2, 3, 32, 32) * 0.2, 0.8 + torch.rand(2, 3, 32, 32) * 0.2
    for source, target in ((dark, bright), (bright, dark)):
        styled = fourier_style(source.contiguous(), target, 0.3)
        assert styled.min() >= 0
        assert styled.max() <= 1
        assert (styled.mean() - target.mean()).abs() < 0.02


@pytest.mark.parametrize("count", [1, 2, 5])
def test_targets_are_taken_in_turn(count):
    source, target = pictures(3, (32, 32), 0), pictures(count, (32, 32), 1)
    styled = fourier_style(source, target, 0.05)
    for i in range(3):
        alone = fourier_style(source[i : i + 1], target[i % count : i % count + 1], 0.05)[0]
        torch.testing.assert_close(styled[i], alone, atol=1e-6, rtol=0)


def test_the_given_pictures_are_left_alone():
    source, target = pictures(1, (32, 32), 0), pictures(1, (32, 32), 1)
    kept = source.clone(), target.clone()
    fourier_style(source, target, 0.2)
    assert torch.equal(source, kept[0])
    assert torch.equal(target, kept[1])
