"""Every page opens on every kind of store, and says what the store says."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import dashboard
from store import Store
from tests.dashboard.filled_stores import SEVEN, create, fill, finish_routed

APP = str(Path(dashboard.__file__).parent / "app.py")
PAGES = ("views/overview.py", "views/mixtures.py", "views/trial.py", "views/provenance.py")
USAGE = "Which routed experts a domain's tokens use"
FORTY = {f"a-rather-long-name-of-a-domain-{place:02d}": 1 + place for place in range(40)}


def opened(monkeypatch: pytest.MonkeyPatch, store: Path, page: str = PAGES[0], **address: str) -> AppTest:
    monkeypatch.setattr("sys.argv", ["app.py", "--store", str(store)])
    app = AppTest.from_file(APP, default_timeout=30)
    app.query_params.update(address)
    app.run()
    if page != PAGES[0]:
        app.switch_page(page).run()
    assert not app.exception
    return app


@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens_on_a_finished_search(filled: Path, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    app = opened(monkeypatch, filled, page)
    assert not app.error
    assert "quickstart" in app.header[0].value


@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens_on_forty_domains_with_long_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    fill(tmp_path / "forty.db", domains=FORTY, state="running")
    assert not opened(monkeypatch, tmp_path / "forty.db", page).error


@pytest.mark.parametrize("page", PAGES)
def test_every_page_says_that_a_store_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    Store(tmp_path / "empty.db").close()
    assert "No search in this store yet" in opened(monkeypatch, tmp_path / "empty.db", page).info[0].value


@pytest.mark.parametrize("page", PAGES)
def test_every_page_says_that_a_store_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    app = opened(monkeypatch, tmp_path / "missing.db", page)
    assert "missing.db" in app.error[0].value
    assert not (tmp_path / "missing.db").exists()


@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens_on_a_search_without_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    with Store(tmp_path / "new.db") as store:
        create(store)
    assert not opened(monkeypatch, tmp_path / "new.db", page).error


def test_the_overview_counts_what_the_store_holds(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = opened(monkeypatch, filled)
    values = {metric.label: (metric.value, metric.delta) for metric in app.metric}
    assert values["State"][0] == "finished"
    assert values["Trials done"] == ("43", "1 running, 1 queued, 2 failed")
    assert values["Beats natural, probability"] == (">99 %", "proof holds")
    assert app.success[0].value.startswith("better than natural")
    assert app.dataframe[0].value["mixture"].tolist()[:2] == ["recommended", "natural"]


def test_the_address_opens_a_search_and_a_trial(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(filled) as store:
        create(store, name="newer")
    assert opened(monkeypatch, filled).header[0].value == "newer"
    app = opened(monkeypatch, filled, PAGES[2], search="quickstart")
    assert app.query_params["search"] == "quickstart"
    app = app.selectbox(key="trial").set_value(3).run()
    assert app.header[0].value == "Trial 3 of quickstart"
    assert app.query_params["trial"] == "3"


def test_the_provenance_names_configurations_and_drivers(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    revisions, sessions = (table.value for table in opened(monkeypatch, filled, PAGES[3]).dataframe)
    assert revisions[["revision", "note", "changed"]].values.tolist() == [
        [0, "created", ""],
        [1, "the file changed", "budget_flops"],
    ]
    assert sessions["host"].tolist() == ["first-host", "second-host"]
    assert sessions["packages"].tolist() == ["mixopt 0.1.0, torch 2.13.0"] * 2


def test_a_trial_tells_who_tried_it_where_and_with_what(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = opened(monkeypatch, filled, PAGES[2], trial="42")
    [attempt] = app.dataframe[-1].value.to_dict("records")
    assert (attempt["state"], attempt["worker"], attempt["took"]) == ("failed", "local-1", "1.0 s")
    assert attempt["error"] == "loss is not a number after 1024 tokens"
    assert attempt["start"] <= attempt["end"]
    assert attempt["driver"] == "first-host, code 0123456789ab, mixopt 0.1.0, torch 2.13.0"


def test_a_trial_of_a_routed_proxy_shows_which_experts_domains_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(tmp_path / "routed.db") as store:
        usage = {name: [[0.75, 0.25], [0.0, 1.0], [0.5, 0.5]] for name in SEVEN}
        finish_routed(store, create(store), usage)
    app = opened(monkeypatch, tmp_path / "routed.db", PAGES[2])
    assert USAGE in [title.value for title in app.subheader]
    assert any("Used evenly, each would have 50 %." in caption.value for caption in app.caption)
    assert "The run: device cpu." in [caption.value for caption in app.caption]


def test_a_trial_of_a_dense_proxy_says_nothing_of_routed_experts(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = opened(monkeypatch, filled, PAGES[2], trial="3")
    assert USAGE not in [title.value for title in app.subheader]
    assert not any("routed" in caption.value for caption in app.caption)


def test_the_overview_tells_what_is_known_around_the_recommendation(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = opened(monkeypatch, filled)
    assert any("0.0011 for what one at the top costs. Advice: go on." in box.value for box in app.info)
    captions = [caption.value for caption in app.caption]
    assert "In doubt: no trial is within a factor of 100 of the target's tokens" in captions
    assert "As good within the noise (1): docs 70 %, python 30 %" in captions
    at_target = next(table.value for table in app.dataframe if "as predicted" in table.value.columns)
    assert at_target["recommended"].tolist() == ["1.5500 +/- 0.0200", "0.9100 +/- 0.0500"]
    effects = next(table.value for table in app.dataframe if "as good from" in table.value.columns)
    assert effects["on topics"].tolist()[:2] == ["-0.0010", "-0.0005"]


def test_the_table_of_trials_filters_by_state(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = opened(monkeypatch, filled, PAGES[1])
    assert len(app.dataframe[0].value) == 47
    app.multiselect(key="only_state").set_value(["diverged"]).run()
    assert app.dataframe[0].value["error"].tolist() == ["loss is not a number after 1024 tokens"]


def test_the_rung_decides_which_mixtures_are_ranked(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = opened(monkeypatch, filled, PAGES[1])
    assert app.selectbox(key="rung").options == ["large", "small", "expert"]
    app.selectbox(key="rung").set_value("small").run()
    assert not app.exception


def test_no_folder_beside_the_app_is_one_that_streamlit_serves_by_itself() -> None:
    assert not (Path(APP).parent / "pages").exists()
