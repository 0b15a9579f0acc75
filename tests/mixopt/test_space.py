"""The polytope of mixtures against scipy's solvers, closed forms, and people's ways of writing constraints."""

import itertools
import re
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import linprog, minimize

from mixopt.errors import ConfigError, EmptySpace
from mixopt.mixture import Domain, Mixture
from mixopt.polytope import linear_program, vertex
from mixopt.space import LinearConstraint, SearchSpace

NAMES = ["web", "code", "math", "docs-en", "wiki.de"]


def space(*constraints: str, tokens: int | None = None, **domains: dict[str, float]) -> SearchSpace:
    return space_of(domains or {name: {} for name in "abcde"}, constraints, tokens)


def space_of(domains: dict[str, dict[str, float]], constraints: Sequence[str], tokens: int | None) -> SearchSpace:
    return SearchSpace(
        domains=tuple(Domain(name=name, **bounds) for name, bounds in domains.items()),  # type: ignore[arg-type]
        constraints=tuple(c for text in constraints for c in LinearConstraint.parse(text, domains)),
        tokens=tokens,
    )


def inside(box: SearchSpace, mixture: Mixture, *, by: float = 1e-9) -> bool:
    w = mixture.array(box.names)
    bounded = bool(np.all(w >= box.lower - by) and np.all(w <= box.upper + by))
    return bounded and bool(np.all(box.A @ w <= box.b + by)) and abs(w.sum() - 1.0) <= by


def squared_distance(w: NDArray[np.float64], point: NDArray[np.float64]) -> float:
    return float(np.sum((w - point) ** 2))


SPACES = {
    "plain": space(),
    "sum": space("b + c >= 0.3"),
    "caps": space(a={"max_weight": 0.3}, b={"max_weight": 0.3}, c={"max_weight": 0.5}, d={}),
    "pinned": space("a >= 2 * b", a={}, b={}, c={"weight": 0.25}, d={"min_weight": 0.05}),
    "flat": space("a + b = 0.5", "c = d"),
    "thin": space("0.2 <= a + b <= 0.21", "a <= 2 * b"),
    "point": space("a = 1"),
    "one": space(a={}),
    "two": space(a={}, b={"max_weight": 0.4}),
}


@pytest.mark.parametrize("name", SPACES)
def test_samples_lie_in_the_space_and_are_the_same_again(name: str) -> None:
    box = SPACES[name]
    samples = box.sample(200, np.random.default_rng(0))
    assert len(samples) == 200
    assert all(m in box and inside(box, m) for m in samples)
    assert samples == box.sample(200, np.random.default_rng(0))


def test_samples_reach_the_limits_of_a_space() -> None:
    samples = space("b + c >= 0.3").sample(400, np.random.default_rng(0))
    assert min(m["b"] + m["c"] for m in samples) == pytest.approx(0.3, abs=0.02)
    assert max(m["a"] for m in samples) > 0.65


@pytest.mark.parametrize("name", ["plain", "sum", "caps"])
def test_samples_have_faces_and_edges_with_exact_zeros_and_interior_points(name: str) -> None:
    counts = [sum(w > 0.0 for w in m.values()) for m in SPACES[name].sample(200, np.random.default_rng(1))]
    assert min(counts) <= 3
    assert counts.count(SPACES[name].d) > 80


def test_hit_and_run_is_uniform_where_the_answer_is_known() -> None:
    box = space("a <= 0.5", a={}, b={}, c={})
    points = box._uniform(20_000, np.random.default_rng(0))
    # over the whole simplex of three, P(a > t) = (1 - t)^2; cut at 1/2, the quarter beyond is gone
    assert np.mean(points[:, 0] > 0.25) == pytest.approx((0.75**2 - 0.25) / 0.75, abs=0.015)
    assert points[:, 1].mean() == pytest.approx(points[:, 2].mean(), abs=0.01)


def test_linear_programs_have_the_minimum_that_scipy_finds() -> None:
    rng = np.random.default_rng(0)
    feasible = 0
    for _ in range(300):
        d, k = int(rng.integers(1, 9)), int(rng.integers(0, 6))
        c, A, b = rng.standard_normal(d), rng.standard_normal((k, d)).round(1), rng.standard_normal(k).round(1) * 0.5
        upper, lower = rng.uniform(0.1, 1.0, d), rng.uniform(0.0, 0.1, d)
        ours = vertex(c, A=A, b=b, lower=lower, upper=upper)
        bounds = list(zip(lower, upper, strict=True))
        theirs = linprog(
            c, A_ub=A if k else None, b_ub=b if k else None, A_eq=np.ones((1, d)), b_eq=[1.0], bounds=bounds
        )
        assert (ours is not None) == (theirs.status == 0)
        if ours is not None:
            feasible += 1
            assert c @ ours == pytest.approx(theirs.fun, abs=1e-8)
    assert feasible > 80


def test_a_degenerate_linear_program_ends() -> None:
    # Beale 1955: Dantzig's rule alone goes round in a circle here; the minimum is -1/20
    A = np.array([[0.25, -60.0, -1 / 25, 9.0], [0.5, -90.0, -1 / 50, 3.0], [0.0, 0.0, 1.0, 0.0]])
    c = np.array([-0.75, 150.0, -0.02, 6.0])
    x = linear_program(c, A=A, b=np.array([0.0, 0.0, 1.0]), E=np.zeros((0, 4)), f=np.zeros(0))
    assert x is not None
    assert c @ x == pytest.approx(-0.05)


@pytest.mark.parametrize("name", SPACES)
def test_projections_are_the_nearest_mixtures(name: str) -> None:
    box, rng = SPACES[name], np.random.default_rng(0)
    others = np.array([m.array(box.names) for m in [*box.sample(150, rng), *box.corners()]])
    for _ in range(30):
        point = rng.normal(1.0 / box.d, 0.5, box.d)
        nearest = box.project(point)
        assert inside(box, nearest)
        gap = point - nearest.array(box.names)  # optimal: no feasible direction goes towards the point
        assert np.max((others - nearest.array(box.names)) @ gap) <= 1e-7


def test_a_projection_is_as_near_as_the_one_that_scipy_finds() -> None:
    box, rng = SPACES["pinned"], np.random.default_rng(3)
    for _ in range(10):
        point = rng.normal(0.25, 0.4, box.d)
        found = minimize(
            squared_distance,
            box.center.array(box.names),
            args=(point,),
            bounds=list(zip(box.lower, box.upper, strict=True)),
            constraints=[
                {"type": "eq", "fun": lambda w: w.sum() - 1.0},
                {"type": "ineq", "fun": lambda w: box.b - box.A @ w},
            ],
            method="SLSQP",
            options={"ftol": 1e-14},
        )
        ours = squared_distance(box.project(point).array(box.names), point)
        assert ours == pytest.approx(found.fun, abs=1e-7)


def test_a_projection_of_a_mixture_of_the_space_is_itself() -> None:
    for box in SPACES.values():
        for mixture in box.sample(16, np.random.default_rng(2)):
            assert box.project(mixture.array(box.names)).distance(mixture) < 1e-9


def test_projecting_onto_a_corner_leaves_exact_zeros() -> None:
    assert dict(space(a={}, b={}, c={}).project(np.array([2.0, 0.1, -1.0]))) == {"a": 1.0, "b": 0.0, "c": 0.0}


def test_corners_hold_as_much_of_each_domain_as_there_can_be() -> None:
    box = SPACES["pinned"]
    assert next(m["a"] for m in box.corners()) == pytest.approx(0.7)
    assert max(m["b"] for m in box.corners()) == pytest.approx(0.7 / 3)
    assert space(a={}, b={}).corners() == [Mixture({"a": 1.0, "b": 0.0}), Mixture({"a": 0.0, "b": 1.0})]
    assert all(inside(box, corner) for corner in box.corners())


def test_the_uniform_mixture_is_the_nearest_allowed_one_and_the_center_is_inside() -> None:
    assert dict(space(a={}, b={}).uniform()) == {"a": 0.5, "b": 0.5}
    assert dict(SPACES["two"].uniform()) == pytest.approx({"a": 0.6, "b": 0.4})
    center = SPACES["sum"].center.array("abcde")
    assert np.all(center > 0.01)
    assert np.all(SPACES["sum"].A @ center < SPACES["sum"].b - 0.01)


def test_epochs_cap_a_weight_by_the_tokens_of_the_training() -> None:
    box = space(tokens=1_000, web={"available_tokens": 100, "max_epochs": 4.0}, code={})
    assert box.upper.tolist() == [0.4, 1.0]
    assert Mixture({"web": 0.41, "code": 0.59}) not in box
    assert Mixture({"web": 0.4, "code": 0.6}) in box


def test_mixtures_of_other_domains_are_not_inside() -> None:
    assert Mixture({"a": 0.5, "z": 0.5}) not in SPACES["plain"]
    assert Mixture({"a": 1.0}) in SPACES["plain"]
    assert "a" not in SPACES["plain"]


@pytest.mark.parametrize(
    ("text", "coefficients", "lower", "upper"),
    [
        ("code + math >= 0.2", {"code": 1, "math": 1}, 0.2, np.inf),
        ("web <= 0.5", {"web": 1}, -np.inf, 0.5),
        ("web<50%", {"web": 1}, -np.inf, 0.5),
        ("code >= 2 * math", {"code": 1, "math": -2}, 0.0, np.inf),
        ("0.1 <= web + code <= 0.3", {"web": 1, "code": 1}, 0.1, 0.3),
        ("0.3 >= web + code >= 1e-1", {"web": 1, "code": 1}, 0.1, 0.3),
        ("docs-en - web/2 = 0.1", {"docs-en": 1, "web": -0.5}, 0.1, 0.1),
        ("'wiki.de' + docs-en >= .2", {"wiki.de": 1, "docs-en": 1}, 0.2, np.inf),
        ("wiki.de <= 0.1", {"wiki.de": 1}, -np.inf, 0.1),
        ("2 * (code + math) <= 1 - web", {"code": 2, "math": 2, "web": 1}, -np.inf, 1.0),
        ("0.2 <= -web + 1", {"web": 1}, -np.inf, 0.8),
    ],
)
def test_constraints_mean_what_people_write(
    text: str, coefficients: dict[str, float], lower: float, upper: float
) -> None:
    (found,) = LinearConstraint.parse(text, NAMES)
    sign = np.sign(found.coefficients[next(iter(coefficients))])
    bounds = sorted([sign * found.lower, sign * found.upper])
    assert {name: sign * c for name, c in found.coefficients.items()} == coefficients
    assert bounds == pytest.approx([lower, upper])
    assert found.text == text


def test_a_chain_of_different_forms_is_several_constraints() -> None:
    first, second = LinearConstraint.parse("code >= math >= web", NAMES)
    assert first.value({"code": 0.5, "math": 0.2}) == pytest.approx(0.3 if first.lower == 0.0 else -0.3)
    box = SearchSpace(domains=tuple(Domain(name=n) for n in NAMES), constraints=(first, second))
    assert Mixture({"code": 0.5, "math": 0.3, "web": 0.2}) in box
    assert Mixture({"code": 0.5, "math": 0.2, "web": 0.3}) not in box


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("coed >= 0.2", "did you mean 'code'"),
        ("code", "compares nothing"),
        ("0.1 <= 0.2", "says nothing"),
        ("code * math >= 0.1", "multiplies two weights"),
        ("1 / code >= 0.1", "no number"),
        ("(code >= 0.1", "bracket"),
        ("'code >= 0.1", "quote"),
        ("code >=", "its end"),
        ("code >= 0.1 0.2", "did not expect '0.2'"),
        ("0.5 <= code <= 0.2", "at least 0.5 and at most 0.2"),
        ("__import__('os') >= 0", "unknown domain '__import__'"),
    ],
)
def test_a_constraint_that_cannot_be_read_says_why(text: str, word: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(word)):
        LinearConstraint.parse(text, NAMES)


def test_caps_that_leave_no_room_are_listed_with_what_would_open_them() -> None:
    with pytest.raises(EmptySpace) as error:
        space(
            tokens=20_000_000_000,
            web={"max_weight": 0.4},
            code={"available_tokens": 1_100_000_000, "max_epochs": 4.0},
        )
    assert str(error.value) == (
        "no mixture fits: the caps leave room for at most 0.62 of the tokens: web 0.4 (max_weight), code 0.22 "
        "(max_epochs 4 x 1.1e+09 tokens / 2e+10); to open it, raise max_weight of web to 0.78 or raise max_epochs of "
        "code to 10.91"
    )


EMPTY = [
    ((), {"a": {"weight": 0.7}, "b": {"min_weight": 0.6}, "c": {}}),
    (("a + b >= 0.9",), {"a": {"max_weight": 0.3}, "b": {"max_weight": 0.3}, "c": {}}),
    (("a <= 0.1", "b <= 0.1"), {"a": {}, "b": {}}),
    (("a >= 0.5", "b >= 0.4", "c >= 0.3"), {"a": {}, "b": {}, "c": {}}),
    (("c <= 0.2", "a + b <= 0.31"), {"a": {}, "b": {}, "c": {}}),
]


@pytest.mark.parametrize(("constraints", "domains"), EMPTY)
def test_each_opening_that_an_empty_space_offers_opens_it(
    constraints: tuple[str, ...], domains: dict[str, dict[str, float]]
) -> None:
    with pytest.raises(EmptySpace) as error:
        space_of(domains, constraints, None)
    openings = str(error.value).split("to open it, ")[1].split(" or ")
    assert openings
    for opening in openings:
        opened_domains, opened = {n: dict(b) for n, b in domains.items()}, list(constraints)
        if bound := re.fullmatch(r"(?:raise|lower) (\w+) of (\w+) to (\S+)", opening):
            opened_domains[bound[2]][bound[1]] = float(bound[3])
        else:
            text, value = re.fullmatch(r".* limit in `(.*)` to (\S+)", opening).groups()  # type: ignore[union-attr]
            opened[opened.index(text)] = re.sub(r"[\d.]+$", value, text)
        space_of(opened_domains, opened, None)


def test_the_conflict_named_has_no_limit_too_many() -> None:
    with pytest.raises(EmptySpace) as error:
        space("a >= 0.5", "b >= 0.6", "c <= 0.9", "d >= 0.01")
    words = re.findall(r"`([^`]*)`", str(error.value).split(";")[0])
    assert words == ["a >= 0.5", "b >= 0.6"]


def test_a_space_agrees_with_itself_on_a_grid() -> None:
    box = space("a >= 2 * b", a={}, b={}, c={"max_weight": 0.5})
    for i, j in itertools.product(range(11), range(11)):
        a, b, c = i / 10, j / 10, (10 - i - j) / 10
        if c >= 0.0:
            assert (Mixture({"a": a, "b": b, "c": c}) in box) == (a >= 2 * b and c <= 0.5)
