"""Reading four neighbouring grid points for a whole vector of cells.

Hardware gathers take four times as long as loading the four points of a cell at once and turning
the resulting 16 × 4 block over in registers, which only LLVM instructions can express.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_WIDTH, _POINTS = 16, 4
_INDEX, _WIDE_INDEX, _FLOAT = ir.IntType(32), ir.IntType(64), ir.FloatType()
_QUAD, _VECTOR = ir.VectorType(_FLOAT, _POINTS), ir.VectorType(_FLOAT, _WIDTH)


def _shuffle(builder, left, right, places):
    mask = ir.Constant(ir.VectorType(_INDEX, len(places)), places)
    return builder.shuffle_vector(left, right, mask)


def _turn_over(builder, a, b, c, d):
    """Transpose four vectors of four."""
    low_1, high_1 = (_shuffle(builder, a, b, p) for p in ([0, 4, 1, 5], [2, 6, 3, 7]))
    low_2, high_2 = (_shuffle(builder, c, d, p) for p in ([0, 4, 1, 5], [2, 6, 3, 7]))
    return [
        _shuffle(builder, left, right, places)
        for left, right in ((low_1, low_2), (high_1, high_2))
        for places in ([0, 1, 4, 5], [2, 3, 6, 7])
    ]


def _data(context, builder, array_type, array):
    return cgutils.create_struct_proxy(array_type)(context, builder, array).data


def _pointer(builder, data, place, kind):
    return builder.bitcast(builder.gep(data, [place]), kind.as_pointer())


def _grid_place(builder, first_points, lane):
    """Pointer offset of the first grid point of a lane."""
    return builder.zext(builder.load(builder.gep(first_points, [lane])), _WIDE_INDEX)


def _lane(builder, lanes, offset):
    return builder.add(lanes, ir.Constant(lanes.type, offset))


@intrinsic
def read_quads(typing_context, values, first_points, lanes, rows, row_0, row_1, row_2, row_3):
    """Copy the four grid points of 16 lanes to four rows, one row for each point.

    ``first_points[lane]`` is the first of the four; ``lanes`` is the first of the 16 lanes; rows
    are given by their place in the scratch array. Nothing is checked.
    """

    def generate(context, builder, signature, arguments):
        kinds = signature.args
        grid = _data(context, builder, kinds[0], arguments[0])
        first = _data(context, builder, kinds[1], arguments[1])
        scratch = _data(context, builder, kinds[3], arguments[3])
        lanes = arguments[2]
        groups = []
        for start in range(0, _WIDTH, _POINTS):
            quads = []
            for offset in range(start, start + _POINTS):
                place = _grid_place(builder, first, _lane(builder, lanes, offset))
                quads.append(builder.load(_pointer(builder, grid, place, _QUAD), align=4))
            groups.append(_turn_over(builder, *quads))
        for point, row in enumerate(arguments[4:]):
            halves = [
                _shuffle(builder, groups[g][point], groups[g + 1][point], list(range(8)))
                for g in (0, 2)
            ]
            vector = _shuffle(builder, *halves, list(range(_WIDTH)))
            place = builder.add(row, lanes)
            builder.store(vector, _pointer(builder, scratch, place, _VECTOR), align=4)
        return context.get_dummy_value()

    kinds = (values, first_points, lanes, rows, row_0, row_1, row_2, row_3)
    return types.void(*kinds), generate
