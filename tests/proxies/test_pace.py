"""How many models train as one program: what measured seconds say."""

import pytest

from proxies.config import ProxyConfig
from proxies.pace import COUNTS, Pace, measure_pace


@pytest.mark.parametrize(
    ("step_s", "count", "gain"),
    [
        ({1: 1.0, 4: 0.8, 8: 0.5}, 8, 2.0),
        ({1: 1.0, 4: 0.80, 8: 0.79}, 4, 1.25),  # nearly the best with fewer
        ({1: 1.0, 4: 0.97, 8: 0.98}, 1, 1.0),  # not worth it
        ({1: 1.0, 4: 1.2, 8: 1.5}, 1, 1.0),
        ({1: 1.0}, 1, 1.0),
    ],
)
def test_the_fewest_models_at_nearly_the_best_pace_train_together(
    step_s: dict[int, float], count: int, gain: float
) -> None:
    pace = Pace(step_s=step_s)
    assert pace.count == count
    assert pace.gain == pytest.approx(gain)


def test_a_model_so_small_that_it_only_waits_for_calls_is_faster_in_company() -> None:
    tiny = ProxyConfig(layers=1, width=8, heads=1, sequence_tokens=8, batch_sequences=1)
    pace = measure_pace(tiny, vocabulary=16)
    assert tuple(pace.step_s) == COUNTS
    assert pace.count > 1
    assert pace.gain > 1.5  # seven to eight where it was measured
