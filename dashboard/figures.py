"""Data frame to figure, pure: no store, no Streamlit.

`d` domains. Losses are bits per byte, lower is better. Backgrounds stay transparent, so that the page's theme decides.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard import palette, wording

COLUMNS = 4  # small multiples side by side
MOST_COLORS = 12  # more colours than that nobody tells apart
EPOCH_TICKS = (0.01, 0.03, 0.1, 0.3, 1, 2, 4, 8, 16, 32, 64, 128)
MOST_NUMBERED = 16  # routed experts whose shares fit into their cells as numbers
LEGEND_WIDTH = 620  # pixels, on a narrow page


def best_so_far(trials: pd.DataFrame, rungs: Sequence[str]) -> go.Figure:
    """Objective of every measured trial against FLOPs charged, with the lowest so far; one strip and colour a rung.

    trials: as `progress.measured` returns them. Levels of different rungs cannot be compared, so each has its own
    scale; the last of `rungs` is on top.
    """
    colors = dict(zip(rungs, palette.colors(len(rungs)), strict=True))
    seen = [rung for rung in reversed(rungs) if rung in set(trials["rung"])]
    height = 110 + 170 * len(seen)
    gap = 0.0 if len(seen) < 2 else 38 / height
    titles = [wording.short(rung) for rung in seen]
    figure = make_subplots(rows=len(seen), cols=1, shared_xaxes=True, vertical_spacing=gap, subplot_titles=titles)
    for row, rung in enumerate(seen, start=1):
        for trace in _history(trials[trials["rung"] == rung], color=colors[rung], until=trials["spent_flops"].max()):
            figure.add_trace(trace, row=row, col=1)
    figure.update_xaxes(exponentformat="e", rangemode="tozero", showgrid=True)
    figure.update_xaxes(title="FLOPs charged so far", row=len(seen))
    figure.update_yaxes(title="objective", nticks=5)
    figure.update_annotations(x=0, xanchor="left", font={"size": 13})
    return _framed(figure, height=height)


def _history(rows: pd.DataFrame, *, color: str, until: float) -> list[go.Scatter]:
    text = [f"trial {n} ({p}, seed {s})" for n, p, s in zip(rows.index, rows["purpose"], rows["seed"], strict=True)]
    hover = "%{text}<br>objective %{y:.4f}<br>%{x:.2e} FLOPs charged<extra></extra>"
    points = go.Scatter(
        x=rows["spent_flops"], y=rows["objective"], mode="markers", text=text, hovertemplate=hover, showlegend=False,
        marker={"color": color, "size": 8, "opacity": 0.75}, cliponaxis=False,
    )  # fmt: skip
    best = go.Scatter(
        x=[*rows["spent_flops"], until], y=[*rows["best"], rows["best"].iloc[-1]], mode="lines", hoverinfo="skip",
        line={"color": color, "shape": "hv", "width": 2}, showlegend=False,
    )  # fmt: skip
    return [best, points]


def proof(rows: pd.DataFrame) -> go.Figure:
    """Paired difference of every rival to the recommended mixture, with its 95 % interval: right of 0 the latter wins.

    rows: `frames.PROOF_COLUMNS`; rows without a difference (the recommended mixture itself) are left out.
    """
    rivals = rows[rows["difference"].notna() & rows["difference_low"].notna()].iloc[::-1]
    figure = go.Figure()
    colors = [
        _verdict(low, high) for low, high in zip(rivals["difference_low"], rivals["difference_high"], strict=True)
    ]
    names = [wording.short(str(name)) for name in rivals["name"]]
    figure.add_scatter(
        x=rivals["difference"], y=names, mode="markers", marker={"color": colors, "size": 11}, showlegend=False,
        error_x={
            "type": "data", "symmetric": False, "thickness": 2, "width": 6, "color": palette.NEUTRAL,
            "array": rivals["difference_high"] - rivals["difference"],
            "arrayminus": rivals["difference"] - rivals["difference_low"],
        },
        hovertemplate="%{y}: %{x:+.4f} bits per byte<extra></extra>",
    )  # fmt: skip
    figure.add_vline(x=0, line={"color": palette.NEUTRAL, "dash": "dot", "width": 1.5})
    figure.update_xaxes(
        title="rival minus recommended (bits per byte), right: the recommended one is better", zeroline=False
    )
    figure.update_yaxes(type="category")
    return _framed(figure, height=130 + 42 * len(rivals))


def effects(rows: pd.DataFrame) -> go.Figure:
    """What a percentage point more of every domain changes, with two standard deviations: left of 0 the loss falls.

    rows: `domain`, `change` and `sd`, in bits per byte.
    """
    order = rows.sort_values("change", ascending=False, kind="stable")
    spread = 2.0 * order["sd"]
    colors = [
        _verdict(-high, -low) for low, high in zip(order["change"] - spread, order["change"] + spread, strict=True)
    ]
    names = [wording.short(str(name)) for name in order["domain"]]
    figure = go.Figure()
    figure.add_scatter(
        x=order["change"], y=names, mode="markers", marker={"color": colors, "size": 11}, showlegend=False,
        error_x={"type": "data", "array": spread, "thickness": 2, "width": 6, "color": palette.NEUTRAL},
        hovertemplate="%{y}: %{x:+.5f} bits per byte<extra></extra>",
    )  # fmt: skip
    figure.add_vline(x=0, line={"color": palette.NEUTRAL, "dash": "dot", "width": 1.5})
    figure.update_xaxes(title="change of the objective (bits per byte) for one percentage point more", zeroline=False)
    figure.update_yaxes(type="category")
    return _framed(figure, height=130 + 32 * len(order))


def mixture_bars(mixtures: pd.DataFrame, domains: Sequence[str]) -> go.Figure:
    """One stacked bar a mixture, in the order given from the top; a domain keeps its colour everywhere.

    mixtures: `label`, `objective` (nan: not measured), and one column a domain. Of many domains the heaviest have a
    colour; the others are one grey piece.
    """
    labels = [_bar_label(label, value) for label, value in zip(mixtures["label"], mixtures["objective"], strict=True)]
    heaviest = mixtures[list(domains)].mean().sort_values(ascending=False, kind="stable").index[:MOST_COLORS].tolist()
    pieces = [
        (wording.short(domain), mixtures[domain], color)
        for domain, color in zip(domains, palette.colors(len(domains)), strict=True)
        if domain in heaviest
    ]
    if len(domains) > MOST_COLORS:
        others = [domain for domain in domains if domain not in heaviest]
        pieces.append((f"{len(others)} others", mixtures[others].sum(axis=1), palette.NEUTRAL))
    figure = go.Figure()
    for name, weights, color in pieces:
        figure.add_bar(
            y=labels, x=weights, name=name, marker={"color": color, "line": {"width": 0}},
            orientation="h", hovertemplate="%{y}<br>" + name + " %{x:.3f}<extra></extra>",
        )  # fmt: skip
    figure.update_layout(barmode="stack", bargap=0.18, legend={"traceorder": "normal"})
    figure.update_xaxes(title="weight", range=[0, 1.001], tickformat=".0%", dtick=0.2)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False, tickfont={"family": "monospace"})
    return _framed(figure, height=110 + 24 * len(mixtures) + _legend_height([name for name, _, _ in pieces]))


def ternary(mixtures: pd.DataFrame, three: tuple[str, str, str]) -> go.Figure:
    """Mixtures in the triangle of three domains, coloured by objective; a larger point has more of its tokens there.

    Mixtures without any of the three have no place in the triangle and are left out.
    """
    share = mixtures[list(three)].sum(axis=1)
    rows, share = mixtures[share > 0], share[share > 0]
    values = [rows[name] / share for name in three]
    text = [
        f"{label}<br>objective {value:.4f}<br>"
        + "<br>".join(f"{wording.short(name)} {weight:.3f}" for name, weight in zip(three, w, strict=True))
        for label, value, w in zip(rows["label"], rows["objective"], rows[list(three)].to_numpy().tolist(), strict=True)
    ]
    figure = go.Figure()
    figure.add_scatterternary(
        a=values[0], b=values[1], c=values[2], mode="markers", text=text, cliponaxis=False,
        hovertemplate="%{text}<extra></extra>", marker={
            "size": 6 + 12 * share, "color": rows["objective"], "colorscale": palette.SCALE,
            "line": {"color": palette.NEUTRAL, "width": 1},
            "colorbar": {"title": {"text": "objective"}, "thickness": 14},
        },
    )  # fmt: skip
    axes = [
        {
            "title": {"text": wording.short(name, letters=20)},
            "tickformat": ".0%",
            "nticks": 5,
            "gridcolor": "rgba(140,140,140,0.35)",
        }
        for name in three
    ]
    sides = dict(zip(("aaxis", "baxis", "caxis"), axes, strict=True))
    figure.update_layout(ternary={"sum": 1, "bgcolor": "rgba(0,0,0,0)", **sides})
    framed = _framed(figure, height=500)
    return framed.update_layout(margin={"b": 50, "t": 50})  # the names of the corners


def weight_against_objective(
    mixtures: pd.DataFrame, domains: Sequence[str], *, shown: Collection[str] | None = None
) -> go.Figure:
    """One small scatter a domain `shown` (None: all): its weight against the objective, on one scale of objectives."""
    colors = dict(zip(domains, palette.colors(len(domains)), strict=True))
    domains = [domain for domain in domains if shown is None or domain in shown]
    rows = max(1, -(-len(domains) // COLUMNS))
    height = 90 + 190 * rows
    titles = [wording.short(domain, letters=24) for domain in domains]
    figure = make_subplots(
        rows=rows,
        cols=COLUMNS,
        shared_yaxes=True,
        subplot_titles=titles,
        horizontal_spacing=0.03,
        vertical_spacing=min(62 / height, 0.9 / max(rows - 1, 1)),
    )
    for place, domain in enumerate(domains):
        hover = "%{text}<br>weight %{x:.3f}<br>objective %{y:.4f}<extra>" + domain + "</extra>"
        points = go.Scatter(
            x=mixtures[domain], y=mixtures["objective"], mode="markers", text=mixtures["label"], showlegend=False,
            marker={"color": colors[domain], "size": 7, "opacity": 0.8}, hovertemplate=hover, cliponaxis=False,
        )  # fmt: skip
        figure.add_trace(points, row=place // COLUMNS + 1, col=place % COLUMNS + 1)
    figure.update_xaxes(tickformat=".0%", rangemode="tozero", nticks=5)
    figure.update_annotations(font={"size": 13})
    return _framed(figure, height=height)


def epochs(rows: Mapping[str, Sequence[float]], domains: Sequence[str], *, limit: float) -> go.Figure:
    """How often each domain is read by each named mixture, on a logarithmic axis; right of `limit` repetition costs.

    rows: name of a mixture to its epochs of `domains`; domains that a mixture does not read have no point.
    """
    figure = go.Figure()
    names = [wording.short(domain) for domain in domains]
    for (name, values), color in zip(rows.items(), palette.colors(len(rows)), strict=True):
        x = [value if value > 0 else None for value in values]
        figure.add_scatter(
            x=x, y=names, mode="markers", name=name, marker={"color": color, "size": 10, "opacity": 0.85},
            hovertemplate="%{y}: %{x:.2f} epochs<extra>" + name + "</extra>",
        )  # fmt: skip
    figure.add_vline(x=limit, line={"color": palette.BAD, "dash": "dot", "width": 1.5})
    figure.update_xaxes(
        title="epochs", type="log", tickvals=EPOCH_TICKS, ticktext=[f"{tick:g}" for tick in EPOCH_TICKS]
    )
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=names[::-1])
    figure.update_layout(showlegend=True)
    return _framed(figure, height=140 + 26 * len(domains))


def curve(points: pd.DataFrame) -> go.Figure:
    """Training loss (nats per token) over tokens."""
    figure = go.Figure(
        go.Scatter(
            x=points["tokens"],
            y=points["loss"],
            mode="lines+markers",
            line={"color": palette.FIRST[0]},
            marker={"size": 5},
        )
    )
    figure.update_xaxes(title="tokens", rangemode="tozero")
    figure.update_yaxes(title="training loss (nats per token)")
    return _framed(figure, height=320)


def expert_usage(layers: Sequence[pd.DataFrame]) -> go.Figure:
    """One heat map a layer, domains from the top and routed experts from the left; one scale of shares for all.

    layers: domains x experts, the share of a domain's routes that goes to the expert.
    """
    few = len(layers[0].columns) <= MOST_NUMBERED
    columns = min(2, len(layers)) if few else 1
    rows = -(-len(layers) // columns)
    gap = 88  # pixels: the axis of one layer and the name of the next
    height = 40 + rows * (gap + 24 * len(layers[0]))
    figure = make_subplots(
        rows=rows,
        cols=columns,
        shared_yaxes=True,
        specs=[
            [{} if row * columns + column < len(layers) else None for column in range(columns)] for row in range(rows)
        ],
        subplot_titles=[f"layer {place} of {len(layers)}" for place in range(1, 1 + len(layers))],
        horizontal_spacing=0.03,
        vertical_spacing=gap / height,
    )
    for place, shares in enumerate(layers):
        figure.add_trace(_usage_of_a_layer(shares, numbered=few), row=place // columns + 1, col=place % columns + 1)
    figure.update_xaxes(title="routed expert", showgrid=False, zeroline=False, dtick=1 if few else None)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False, zeroline=False)
    figure.update_annotations(font={"size": 13})
    bar = {"tickformat": ".0%", "thickness": 14, "lenmode": "pixels", "len": 190, "y": 1, "yanchor": "top"}
    figure.update_layout(coloraxis={"colorscale": palette.SHARES, "cmin": 0, "colorbar": bar})
    return _framed(figure, height=height)


def _usage_of_a_layer(shares: pd.DataFrame, *, numbered: bool) -> go.Heatmap:
    return go.Heatmap(
        z=shares.to_numpy(),
        x=list(shares.columns),
        y=[wording.short(str(domain)) for domain in shares.index],
        text=[[f"{100 * share:.0f}" for share in row] for row in shares.to_numpy()],
        texttemplate="%{text}" if numbered else "",
        textfont={"color": palette.INK},
        coloraxis="coloraxis",
        xgap=1,
        ygap=1,
        hovertemplate="%{y}: %{z:.1%} of its routes go to expert %{x}<extra></extra>",
    )


def _bar_label(label: str, objective: float) -> str:
    return f"{wording.short(label, letters=22)}  {wording.bits(objective)}"


def _legend_height(names: Sequence[str]) -> int:
    column = 40 + 7 * max(len(name) for name in names)  # pixels; Plotly makes the columns of a legend equally wide
    in_a_row = max(1, LEGEND_WIDTH // column)
    return 20 * -(-len(names) // in_a_row)


def _verdict(low: float, high: float) -> str:
    if low > 0:
        return palette.GOOD
    return palette.BAD if high < 0 else palette.NEUTRAL


def _framed(figure: go.Figure, *, height: int) -> go.Figure:
    figure.update_layout(
        height=height,
        margin={"l": 10, "r": 24, "t": 40, "b": 10},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0, "xanchor": "left", "title": {"text": ""}},
        uirevision="kept",  # a refresh keeps what the reader zoomed to
    )
    return figure
