"""Convolutions in vector registers: operations for code that numba compiles.

A *tile* is a run of PIXELS neighbouring pixels in GROUP channels. Its sums stay in registers while
all that enters them is loaded once: each weight for two vectors of pixels, each vector for all the
channels. Compilers do not come to this form by themselves: of 8 to 8 channels, 640 pixels a row,
loops over pixels made 118 GFLOP/s, tiles 270, on one core of an AMD EPYC (Zen 5).

Maps are flat arrays of float32, in which `plane` numbers lie between a pixel of one channel and
that of the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic


def _registers() -> tuple[int, int]:
    """Numbers in a vector, and channels of a tile: its sums take at most half of the registers.

    Of what numba compiles for: this processor, or what its variables say.
    """
    told = config.CPU_FEATURES
    listed = get_host_cpu_features() if told is None else told
    features = {name[1:] for name in listed.split(",") if name[:1] == "+"}
    if "avx512f" in features:
        return 16, 8
    if "avx2" in features:
        return 8, 4
    return 4, 8 if "neon" in features else 4


LANES, GROUP = _registers()
#: Vectors of pixels in a tile.
_VECTORS = 2
PIXELS = LANES * _VECTORS
#: Channels that `interleave` takes at once.
TOGETHER = 8

_FLOAT, _INDEX, _LANE = ir.FloatType(), ir.IntType(64), ir.IntType(32)
_VECTOR = ir.VectorType(_FLOAT, LANES)
_UNKNOWN, _ZERO = ir.Constant(_VECTOR, ir.Undefined), ir.Constant(_VECTOR, [0.0] * LANES)
#: Of a tile: by channel, and of a channel by pixel.
Sums = list[list[Any]]


@intrinsic
def convolve(
    _: Any,
    source: Any,
    top: Any,
    middle: Any,
    bottom: Any,
    plane: Any,
    kernel: Any,
    also: Any,
    also_at: Any,
    also_plane: Any,
    also_kernel: Any,
    bias: Any,
    lowest: Any,
    target: Any,
    target_at: Any,
    target_plane: Any,
) -> Any:
    """A tile of 3x3 convolution of `source` + 1x1 convolution of `also` + bias, at least `lowest`.

    top, middle and bottom: where in `source` the tile's first pixel is, and those above and below
    it. kernel (channels, 9, GROUP), also_kernel (channels, 1, GROUP): of no channels, there is no
    such convolution. bias (GROUP,).
    """
    arguments = [source, top, middle, bottom, plane, kernel, also, also_at, also_plane]
    arguments += [also_kernel, bias, lowest, target, target_at, target_plane]

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        code = _Code(context, builder, signature, values)
        taps = [code.plus(row, step) for row in code.values[1:4] for step in (-1, 0, 1)]
        sums = code.repeated(code.data(10))
        sums = code.sums(sums, code.data(0), taps, code.values[4], code.data(5), code.size(5))
        taps = [code.values[7]]
        sums = code.sums(sums, code.data(6), taps, code.values[8], code.data(9), code.size(9))
        lowest = code.everywhere(code.values[11])
        for i, channel in enumerate(sums):
            at = builder.add(code.values[13], code.times(code.values[14], i))
            for k, pixels in enumerate(channel):
                larger = code.larger(pixels, lowest)
                code.store(larger, code.data(12), code.plus(at, k * LANES))
        return context.get_dummy_value()

    return types.void(*arguments), generate


@intrinsic
def score(
    _: Any,
    source: Any,
    at: Any,
    plane: Any,
    kernel: Any,
    weights: Any,
    target: Any,
    target_at: Any,
) -> Any:
    """Adds a tile of weights . relu(1x1 convolution of `source`) to `target`, of one channel.

    kernel (channels, 1, GROUP), weights (GROUP,).
    """

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        code = _Code(context, builder, signature, values)
        zero = [[_ZERO] * _VECTORS for _ in range(GROUP)]
        taps = [code.values[1]]
        sums = code.sums(zero, code.data(0), taps, code.values[2], code.data(3), code.size(3))
        for k in range(_VECTORS):
            place = code.plus(code.values[6], k * LANES)
            total = code.load(code.data(5), place)
            for i, channel in enumerate(sums):
                weight = code.everywhere(code.number(code.data(4), code.index(i)))
                total = code.multiply_add(weight, code.larger(channel[k], _ZERO), total)
            code.store(total, code.data(5), place)
        return context.get_dummy_value()

    return types.void(source, at, plane, kernel, weights, target, target_at), generate


@intrinsic
def interleave(
    _: Any, source: Any, at: Any, plane: Any, target: Any, target_at: Any, channels: Any
) -> Any:
    """LANES pixels of TOGETHER channels, to where a pixel's channels lie side by side.

    channels: how many all of them are, so how far one pixel of `target` is from the next.
    """

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        code = _Code(context, builder, signature, values)
        planes = [
            [code.load(code.data(0), builder.add(code.values[1], code.times(code.values[2], i)))]
            for i in range(TOGETHER)
        ]
        while len(planes) > 1:  # the first with the middle one, as the next round parts them
            half = len(planes) // 2
            planes = [code.zipped(planes[i], planes[i + half]) for i in range(half)]
        width = min(LANES, TOGETHER)
        for i, vector in enumerate(planes[0]):
            for first in range(0, LANES, width):
                pixel, channel = divmod(i * LANES + first, TOGETHER)
                place = builder.add(code.values[4], code.times(code.values[5], pixel))
                part = code.shuffled(vector, vector, range(first, first + width))
                code.store(part, code.data(3), code.plus(place, channel))
        return context.get_dummy_value()

    return types.void(source, at, plane, target, target_at, channels), generate


class _Code:
    """Writes the code of one operation: `values` are its arguments, of arrays their structure."""

    def __init__(self, context: Any, builder: Any, signature: Any, values: Sequence[Any]) -> None:
        self._builder = builder
        self.values = list(values)
        self._arrays = {
            i: context.make_array(kind)(context, builder, value)
            for i, (kind, value) in enumerate(zip(signature.args, values, strict=True))
            if isinstance(kind, types.Array)
        }
        kinds = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        name = f"llvm.fmuladd.v{LANES}f32"
        self._fmuladd = cgutils.get_or_insert_function(builder.module, kinds, name)

    def data(self, argument: int) -> Any:
        """Where an array begins."""
        return self._arrays[argument].data

    def size(self, argument: int) -> Any:
        """The length of an array's first axis."""
        return self._builder.extract_value(self._arrays[argument].shape, 0)

    def index(self, value: int) -> Any:
        return ir.Constant(_INDEX, value)

    def plus(self, value: Any, step: int) -> Any:
        return self._builder.add(value, self.index(step))

    def times(self, value: Any, count: int) -> Any:
        return self._builder.mul(value, self.index(count))

    def load(self, data: Any, at: Any) -> Any:
        """A vector."""
        place = self._builder.bitcast(self._builder.gep(data, [at]), _VECTOR.as_pointer())
        return self._builder.load(place, align=4)

    def store(self, vector: Any, data: Any, at: Any) -> None:
        place = self._builder.gep(data, [at])
        place = self._builder.bitcast(place, vector.type.as_pointer())
        self._builder.store(vector, place, align=4)

    def number(self, data: Any, at: Any) -> Any:
        return self._builder.load(self._builder.gep(data, [at]))

    def everywhere(self, number: Any) -> Any:
        """A vector of one number."""
        vector = self._builder.insert_element(_UNKNOWN, number, ir.Constant(_LANE, 0))
        return self.shuffled(vector, _UNKNOWN, [0] * LANES)

    def shuffled(self, first: Any, second: Any, lanes: Sequence[int]) -> Any:
        kind = ir.VectorType(_LANE, len(lanes))
        return self._builder.shuffle_vector(first, second, ir.Constant(kind, list(lanes)))

    def zipped(self, first: Sequence[Any], second: Sequence[Any]) -> list[Any]:
        """Two rows of vectors as one: first, second, first, second..."""
        found = []
        for a, b in zip(first, second, strict=True):
            for start in (0, LANES // 2):
                lanes = [
                    lane for i in range(LANES // 2) for lane in (start + i, LANES + start + i)
                ]
                found.append(self.shuffled(a, b, lanes))
        return found

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        return self._builder.call(self._fmuladd, [a, b, c])

    def larger(self, a: Any, b: Any) -> Any:
        return self._builder.select(self._builder.fcmp_ordered(">", a, b), a, b)

    def repeated(self, bias: Any) -> Sums:
        numbers = [self.number(bias, self.index(i)) for i in range(GROUP)]
        return [[self.everywhere(number)] * _VECTORS for number in numbers]

    def sums(
        self, sums: Sums, source: Any, taps: Sequence[Any], plane: Any, kernel: Any, channels: Any
    ) -> Sums:
        """The sums and what a kernel (channels, taps, GROUP) adds to them.

        taps: where the pixels are that the kernel sees from the tile's first pixel.
        """

        def add_channel(channel: Any, values: list[Any]) -> list[Any]:
            shift = self._builder.mul(channel, plane)
            first_weight = self.times(channel, len(taps) * GROUP)
            for t, tap in enumerate(taps):
                pixel = self._builder.add(tap, shift)
                pixels = [self.load(source, self.plus(pixel, k * LANES)) for k in range(_VECTORS)]
                for i in range(GROUP):
                    place = self.plus(first_weight, t * GROUP + i)
                    weight = self.everywhere(self.number(kernel, place))
                    for k in range(_VECTORS):
                        at = i * _VECTORS + k
                        values[at] = self.multiply_add(weight, pixels[k], values[at])
            return values

        flat = self._loop(
            channels, [vector for channel in sums for vector in channel], add_channel
        )
        return [flat[i * _VECTORS : (i + 1) * _VECTORS] for i in range(GROUP)]

    def _loop(
        self, count: Any, values: list[Any], body: Callable[[Any, list[Any]], list[Any]]
    ) -> list[Any]:
        """The values after `count` rounds of body(round, values), which may be none."""
        builder = self._builder
        before, inside, after = (
            builder.block,
            builder.append_basic_block(),
            builder.append_basic_block(),
        )
        builder.cbranch(builder.icmp_signed(">", count, self.index(0)), inside, after)
        builder.position_at_end(inside)
        number = builder.phi(_INDEX)
        carried = [builder.phi(_VECTOR) for _ in values]
        changed = body(number, list(carried))
        following, end = self.plus(number, 1), builder.block
        number.add_incoming(self.index(0), before)
        number.add_incoming(following, end)
        for phi, value, new in zip(carried, values, changed, strict=True):
            phi.add_incoming(value, before)
            phi.add_incoming(new, end)
        builder.cbranch(builder.icmp_signed("<", following, count), inside, after)
        builder.position_at_end(after)
        found = []
        for value, new in zip(values, changed, strict=True):
            phi = builder.phi(_VECTOR)
            phi.add_incoming(value, before)
            phi.add_incoming(new, end)
            found.append(phi)
        return found
