"""Convolutions in fewer multiplications: the same numbers, and only where that pays."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from cryotx_cli.detector.center.winograd import FEWEST_CHANNELS, WinogradConvolution, speed_up


def images(channels, height, width, batch=1):
    noise = torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(1))
    return noise.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize(("height", "width"), [(16, 24), (17, 6), (1, 1), (2, 51), (57, 58)])
def test_it_computes_what_a_convolution_does(height, width, bias):
    torch.manual_seed(0)
    layer = nn.Conv2d(96, 104, 3, padding=1, bias=bias)
    x = images(96, height, width, batch=2)
    with torch.inference_mode():
        got = WinogradConvolution(layer)(x)
        wanted = layer.double()(x.double())
    assert got.is_contiguous(memory_format=torch.channels_last)
    assert_close(got, wanted.float(), atol=3e-5, rtol=0)  # its standard deviation is 0.6


def test_threads_do_not_disturb_each_other():
    torch.manual_seed(0)
    fast = WinogradConvolution(nn.Conv2d(96, 96, 3, padding=1))
    different = [images(96, 40 + side, 60) for side in range(6)]
    with torch.inference_mode():
        alone = [fast(x) for x in different]
    with ThreadPoolExecutor(3) as threads:
        together = list(threads.map(torch.inference_mode()(fast), different * 4))
    for got, wanted in zip(together, alone * 4, strict=True):
        assert_close(got, wanted, atol=0, rtol=0)


def test_either_way_of_not_learning_may_follow_the_other():
    torch.manual_seed(0)
    fast, x = WinogradConvolution(nn.Conv2d(96, 96, 3, padding=1)), images(96, 90, 90)
    with torch.inference_mode():
        wanted = fast(x)
    with torch.no_grad():
        assert_close(fast(x), wanted, atol=0, rtol=0)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(FEWEST_CHANNELS - 1, FEWEST_CHANNELS, 3, padding=1),
        nn.Conv2d(FEWEST_CHANNELS, FEWEST_CHANNELS - 1, 3, padding=1),
        nn.Conv2d(FEWEST_CHANNELS, FEWEST_CHANNELS, 3, padding=1, stride=2),
        nn.Conv2d(FEWEST_CHANNELS, FEWEST_CHANNELS, 3, padding=1, groups=2),
        nn.Conv2d(FEWEST_CHANNELS, FEWEST_CHANNELS, 3, padding=2, dilation=2),
        nn.Conv2d(FEWEST_CHANNELS, FEWEST_CHANNELS, 3),
        nn.Conv2d(FEWEST_CHANNELS, FEWEST_CHANNELS, 5, padding=1),
        nn.Conv2d(FEWEST_CHANNELS, FEWEST_CHANNELS, 1),
    ],
    ids=["few in", "few out", "stride", "groups", "dilation", "no padding", "5 x 5", "1 x 1"],
)
def test_other_convolutions_stay(layer):
    model = nn.Sequential(nn.Sequential(layer, nn.SiLU()))
    speed_up(model)
    assert model[0][0] is layer


def test_convolutions_between_many_channels_are_sped_up():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(8, FEWEST_CHANNELS, 3, padding=1),
        nn.Sequential(nn.Conv2d(FEWEST_CHANNELS, FEWEST_CHANNELS, 3, padding=1), nn.SiLU()),
    )
    x = images(8, 30, 30)
    with torch.inference_mode():
        wanted = model(x)
        speed_up(model)
        got = model(x)
    assert isinstance(model[1][0], WinogradConvolution)
    assert_close(got, wanted, atol=1e-4, rtol=0)
