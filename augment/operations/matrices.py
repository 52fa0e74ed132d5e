"""Three by three matrices in plain floats: a linear algebra library's results would depend on the CPU."""

from typing import TypeAlias

Row: TypeAlias = tuple[float, float, float]
Matrix: TypeAlias = tuple[Row, Row, Row]


def product(left: Matrix, right: Matrix) -> Matrix:
    """Return left x right."""
    x, y, z = transposed(right)
    a, b, c = ((scalar_product(row, x), scalar_product(row, y), scalar_product(row, z)) for row in left)
    return a, b, c


def inverse(matrix: Matrix) -> Matrix:
    """Return the inverse, by Cramer's rule."""
    (a, b, c), (d, e, f), (g, h, i) = matrix
    minors = (
        (e * i - f * h, c * h - b * i, b * f - c * e),
        (f * g - d * i, a * i - c * g, c * d - a * f),
        (d * h - e * g, b * g - a * h, a * e - b * d),
    )
    determinant = scalar_product(matrix[0], transposed(minors)[0])
    p, q, r = ((x / determinant, y / determinant, z / determinant) for x, y, z in minors)
    return p, q, r


def transposed(matrix: Matrix) -> Matrix:
    """Return the matrix with rows as columns."""
    (a, b, c), (d, e, f), (g, h, i) = matrix
    return (a, d, g), (b, e, h), (c, f, i)


def scalar_product(left: Row, right: Row) -> float:
    """Return left x right; no two versions of Python's `sum` of floats are alike."""
    return left[0] * right[0] + left[1] * right[1] + left[2] * right[2]
