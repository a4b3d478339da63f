"""An op held to its definition, result and gradients."""

from benchmarks.tolerances import OP, relative_error


def assert_like_its_definition(function, definition, gradients, arguments, exact=None):
    """What `function` gives for `arguments`, whose first is a tensor, is what `definition` gives for `exact`, the same
    numbers in float64 or the arguments themselves; `gradients` takes arguments and a function."""
    exact = arguments if exact is None else exact
    dtype = arguments[0].dtype
    assert relative_error(function(*arguments), definition(*exact)) <= OP[dtype]
    for actual, true in zip(gradients(arguments, function), gradients(exact, definition), strict=True):
        assert actual.dtype == dtype
        assert relative_error(actual, true) <= OP[dtype]
