"""The certificate as a page: the verdict first, then what a reader needs to believe it.

It shows slices of the data set, so it is written only where its user says, never into a bundle.
"""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from neuroscan_edge.model.labels import display_name, printable
from neuroscan_edge.parity.certificate import Verdict
from neuroscan_edge.parity.figures import changed_slices
from neuroscan_edge.parity.run import Parity
from neuroscan_edge.parity.summary import (
    counts_text,
    delta_rows,
    engine_name,
    gate_rows,
    stage_rows,
)
from neuroscan_edge.report.charts import (
    BASELINE_COLOUR,
    ENGINE_COLOUR,
    Delta,
    forest,
    probability_bars,
    reliability,
)
from neuroscan_edge.report.html import bullets, grey_png, page, paragraph, table

_STYLE = f"""
.verdict {{ border-radius: 10px; padding: 1.1rem 1.5rem; margin: 1rem 0 1.5rem; color: #fff; }}
.verdict b {{ font-size: 1.9rem; letter-spacing: 0.02em; display: block; }}
.verdict p {{ margin: 0.3rem 0 0; font-size: 1.08rem; }}
.verdict ul {{ margin: 0.4rem 0 0; }}
.passed {{ background: #1d7a46; }} .failed {{ background: #a3271b; }}
.cannot-certify {{ background: #8a5a00; }}
.good {{ color: #1d7a46; font-weight: 600; }} .bad {{ color: #a3271b; font-weight: 700; }}
.beside {{ display: flex; flex-wrap: wrap; gap: 1.5rem 2.5rem; align-items: flex-start; }}
table.matrix td, table.matrix th {{ text-align: right; padding: 0.4rem 0.5rem; width: 5.2rem; }}
table.matrix th {{ font-size: 0.9rem; }} h3 {{ font-size: 1.02rem; margin: 0.4rem 0; }}
table.matrix th:first-child {{ text-align: left; font-weight: 500; }}
table.matrix td.moved {{ outline: 2px solid #d4572a; outline-offset: -2px; }}
.flip {{ display: flex; gap: 1rem; border: 1px solid #e3e7ec; border-radius: 8px;
         padding: 0.8rem; align-items: center; }}
.flip img {{ width: 168px; height: 168px; border-radius: 4px; }}
.flip > div {{ flex: 1; }}
.flip p {{ margin: 0 0 0.5rem; line-height: 1.35; }}
.flip small {{ color: #55606e; overflow-wrap: anywhere; }}
.flips {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(32rem, 1fr)); gap: 1rem; }}
.key i {{ display: inline-block; width: 0.9em; height: 0.9em; margin: 0 0.3em 0 0.9em;
          vertical-align: -0.1em; }}
.key i.b {{ background: {BASELINE_COLOUR}; }} .key i.e {{ background: {ENGINE_COLOUR}; }}
code {{ font-size: 0.82rem; overflow-wrap: anywhere; }}
svg {{ max-width: 100%; height: auto; }}
"""
_WORDS = {
    Verdict.PASSED: "PASSED",
    Verdict.FAILED: "FAILED",
    Verdict.CANNOT_CERTIFY: "CANNOT CERTIFY",
}
_KEY = '<p class="key"><i class="b"></i>Keras baseline <i class="e"></i>engine</p>'


def report_page(parity: Parity) -> str:
    """Write the page of a run; it needs no other file."""
    document = parity.certificate.document
    stages = ("Stage by stage", _stages(document))
    failed = document["first_failing_stage"] is not None
    sections = [("The gate", _gate(document)), *([stages] if failed else [])]
    if document["engine"] is not None:
        sections += [
            ("What differs", _differences(document)),
            ("Which class is called what", _confusions(document)),
            (f"Slices decided differently ({len(document['changed'])})", _gallery(parity)),
            ("How sure, how often right", _reliability(document)),
        ]
    if document["trail"] is not None:
        sections.append(("How this engine was found", _trail(document["trail"])))
    sections += [
        *([] if failed else [stages]),
        ("What this certificate is of", _identity(document)),
        ("Words", _words(document)),
    ]
    title = f"Parity: {engine_name(parity.certificate)}"
    return page(title, sections, style=_STYLE, opening=_verdict(parity))


def _verdict(parity: Parity) -> str:
    certificate = parity.certificate
    document = certificate.document
    lines = [escape(_in_words(document))]
    if certificate.verdict is Verdict.PASSED:
        lines.append("Within the gate, on these images and for exactly this engine.")
    if certificate.verdict is Verdict.CANNOT_CERTIFY:
        lines.append("This is no verdict on the engine: these images cannot show what is asked.")
    reasons = bullets(document["reasons"]) if document["reasons"] else ""
    body = "".join(f"<p>{line}</p>" for line in lines)
    return (
        f'<div class="verdict {certificate.verdict}"><b>{_WORDS[certificate.verdict]}</b>'
        f"{body}{reasons}</div>{paragraph(f'Measured on {counts_text(document)}.')}"
        + (bullets(document["notes"]) if document["notes"] else "")
    )


def _in_words(document: Mapping[str, Any]) -> str:
    comparison, images = document["comparison"], document["data"]["images"]
    stage = document["first_failing_stage"]
    where = f" The first stage that departs is: {stage}." if stage else ""
    if comparison is None:
        return f"The engine gave no usable answers.{where}"
    same = images - comparison["changed"]
    missed = comparison["newly_missed_tumours"]
    return (
        f"{same} of {images} slices get the same decision from the engine as from the validated "
        f"Keras baseline. Slices with a tumour that are newly called “no tumour”: "
        f"{missed['count']} of {missed['tumour_slices']}.{where}"
    )


def _gate(document: Mapping[str, Any]) -> str:
    rows = []
    for what, measured, allowed, kept in gate_rows(document):
        mark = (
            '<td class="good">✓ kept</td>' if kept == "yes" else '<td class="bad">✗ not kept</td>'
        )
        rows.append(
            f"<tr><td>{escape(what)}</td><td class='number'>{escape(measured)}</td>"
            f"<td>{escape(allowed)}</td>{mark}</tr>"
        )
    gate = document["gate"]
    source = "the default" if gate["source"] == "default" else f"from {gate['source']}"
    looser = gate["looser_than_default"]
    text = f"Limits of the gate: {source}."
    if looser:
        text += f" Looser than the default in {', '.join(looser)}."
    header = "<tr><th>against the baseline</th><th>measured</th><th>allowed</th><th></th></tr>"
    return f"<table>{header}{''.join(rows)}</table>" + paragraph(text)


def _differences(document: Mapping[str, Any]) -> str:
    comparison, gate = document["comparison"], document["gate"]
    precision = "int8" if document["subject"]["precision"] == "int8" else "fp16"
    drop = -100 * gate[precision]["recall_drop"]
    deltas = []
    for key, name in (("accuracy", "Accuracy"), ("f1", "Macro F1"), ("auroc", "Macro AUROC")):
        difference = comparison[f"{key}_difference"]
        if difference:
            deltas.append(_delta(name, difference))
    deltas += [
        _delta(f"Recall of {display_name(label)}", difference, drop)
        for label, difference in comparison["recall_differences"].items()
    ]
    test, level = comparison["mcnemar"], document["bootstrap"]["level"]
    text = (
        f"Points: engine minus baseline, in percentage points. Bars: {100 * level:g} % paired "
        "bootstrap intervals, near-duplicate slices drawn together. Red: below what the gate "
        "allows. A bar that reaches into red says that other images of this kind might show a "
        "larger fall; the gate is held against the points."
    )
    closing = (
        f"Exact McNemar test: the engine alone is right on {test['only_this_right']} slices, the "
        f"baseline alone on {test['only_reference_right']}; p = {test['p_value']:.3g}. "
        f"Probabilities differ by {100 * comparison['largest_probability_difference']:.1f} points "
        f"at most and {100 * comparison['mean_probability_difference']:.2f} in the mean; mean "
        f"Kullback-Leibler divergence {comparison['kl_divergence']['mean']:.2g} nats."
    )
    header = ("", "baseline", "engine", "difference, points")
    return (
        forest(deltas) + paragraph(text) + table(header, delta_rows(document)) + paragraph(closing)
    )


def _delta(name: str, difference: Mapping[str, Any], limit: float | None = None) -> Delta:
    interval = difference["interval"]
    scaled = None if interval is None else (100 * interval[0], 100 * interval[1])
    return Delta(name, 100 * difference["value"], scaled, limit)


def _gallery(parity: Parity) -> str:
    document, slices = parity.certificate.document, parity.slices
    engine = parity.engine.measured
    assert engine is not None
    places = changed_slices(parity.baseline, parity.engine)
    if not places:
        return paragraph("None: every slice gets the same decision.")
    shown = []
    names = [display_name(label) for label in slices.labels]
    for index in places:
        before, after = parity.baseline[index], engine.probabilities[index]
        truth = names[slices.targets[index]]
        decided = names[before.argmax()], names[after.argmax()]
        image = base64.b64encode(grey_png(slices.shown[index])).decode()
        rows = [(name, float(b), float(a)) for name, b, a in zip(names, before, after, strict=True)]
        effect = {(True, False): "was right, now wrong", (False, True): "was wrong, now right"}.get(
            (decided[0] == truth, decided[1] == truth), "wrong before and after"
        )
        caption = f"<b>{escape(decided[0])} → {escape(decided[1])}</b>: {effect}"
        file = printable(slices.files[index].path.name)
        shown.append(
            f'<div class="flip"><img alt="Slice of {escape(truth)}" '
            f'src="data:image/png;base64,{image}"><div><p>{caption}<br>'
            f"<small>truth: {escape(truth)} · {escape(file)}</small></p>"
            f"{probability_bars(rows, truth, decided)}</div></div>"
        )
    kinds = [
        f"{display_name(each['from'])} to {display_name(each['to'])}: {each['count']}"
        for each in document["comparison"]["flips"]
    ]
    text = paragraph(f"{'; '.join(kinds)}. ✓ marks the true class.")
    return f'{text}{_KEY}<div class="flips">{"".join(shown)}</div>'


def _confusions(document: Mapping[str, Any]) -> str:
    labels = document["subject"]["labels"]
    before, after = (document[key]["confusion"] for key in ("baseline", "engine"))
    text = paragraph(
        "Rows: what the slice shows. Columns: what it is called. Framed in orange: the engine's "
        "count is not the baseline's."
    )
    return (
        f'{text}<div class="beside"><div><h3>Keras baseline</h3>{_matrix(labels, before, before)}'
        f"</div><div><h3>Engine</h3>{_matrix(labels, after, before)}</div></div>"
    )


def _matrix(
    labels: Sequence[str], counts: Sequence[Sequence[int]], reference: Sequence[Sequence[int]]
) -> str:
    names = [display_name(label) for label in labels]
    head = "<tr><th></th>" + "".join(f"<th>{escape(name)}</th>" for name in names) + "</tr>"
    rows = []
    for index, (name, row, was) in enumerate(zip(names, counts, reference, strict=True)):
        cells = []
        for column, (count, before) in enumerate(zip(row, was, strict=True)):
            share = count / sum(row) if sum(row) else 0
            colour = "29, 122, 70" if column == index else "163, 39, 27"
            moved = ' class="moved"' if count != before else ""
            cells.append(
                f'<td{moved} style="background: rgba({colour}, {0.6 * share:.2f})">{count}</td>'
            )
        rows.append(f"<tr><th>{escape(name)}</th>{''.join(cells)}</tr>")
    return f'<table class="matrix">{head}{"".join(rows)}</table>'


def _reliability(document: Mapping[str, Any]) -> str:
    pictures = [
        reliability(document[key]["reliability"], title, colour)
        for key, title, colour in (
            ("baseline", "Keras baseline", BASELINE_COLOUR),
            ("engine", "Engine", ENGINE_COLOUR),
        )
    ]
    errors = [100 * document[key]["expected_calibration_error"] for key in ("baseline", "engine")]
    text = paragraph(
        "On the dashed line a model is right as often as it says it is sure; bars below it: it is "
        "too sure of itself. Grey below: how many slices. Expected calibration error: baseline "
        f"{errors[0]:.1f} %, engine {errors[1]:.1f} %."
    )
    return f'<div class="beside">{"".join(pictures)}</div>{text}'


def _stages(document: Mapping[str, Any]) -> str:
    rows = []
    for (name, what, status, agreement, changes), stage in zip(
        stage_rows(document), document["stages"], strict=True
    ):
        kind = {"passed": "good", "failed": "bad"}.get(status, "")
        why = stage["not_run"] or "; ".join(stage["faults"])
        detail = f"<br><small>{escape(why)}</small>" if why else ""
        rows.append(
            f"<tr><td><b>{escape(name)}</b></td><td>{escape(what)}{detail}</td>"
            f'<td class="{kind}">{escape(status)}</td><td class="number">{escape(agreement)}</td>'
            f'<td class="number">{escape(changes)}</td></tr>'
        )
    header = (
        "<tr><th>stage</th><th>what it is</th><th>status</th><th>agreement with the baseline</th>"
        "<th>slices changed here</th></tr>"
    )
    text = paragraph(
        "From the validated model to what runs, all on the same bytes. The first stage that fails "
        "is where to look."
    )
    return f"{text}<table>{header}{''.join(rows)}</table>"


def _trail(trail: Mapping[str, Any]) -> str:
    rows = []
    for each in trail["tried"]:
        values = {line["name"]: line["value"] for line in each["criteria"]}
        shares = [values.get(name) for name in ("agreement", "recall_drop", "missed_tumours")]
        written = ["–" if value is None else f"{100 * value:.2f} %" for value in shares]
        rows.append((each["name"], *written, "passes" if each["passed"] else "fails"))
    header = ("tried, in order", "agreement", "recall drop", "missed tumours", "gate")
    races = [
        "Side by side, images/s: "
        + "; ".join(f"{name} {speed:.1f}" for name, speed in race.items())
        for race in trail["images_per_s"]
    ]
    reason = trail["chosen"]["reason"]
    text = paragraph(f"{reason[:1].upper()}{reason[1:]}.")
    return text + table(header, rows) + bullets(races)


def _identity(document: Mapping[str, Any]) -> str:
    subject, data, environment = (document[key] for key in ("subject", "data", "environment"))
    rows = [
        ("engine", subject["engine_sha256"]),
        ("graph", subject["graph_sha256"]),
        ("Keras baseline", subject["baseline_sha256"]),
        ("preprocessing", subject["preprocessing_sha256"]),
        ("images and labels", data["fingerprint"]),
        ("this certificate", document["certificate_sha256"]),
    ]
    body = "".join(
        f"<tr><td>{escape(name)}</td><td><code>{escape(str(value))}</code></td></tr>"
        for name, value in rows
    )
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    text = (
        f"{environment['processor']}, {environment['platform']}, Python {environment['python']}, "
        f"{environment['runtime']}; {packages}. Issued {document['issued_at']} by neuroscan-edge "
        f"{environment['neuroscan_edge']}. It holds for exactly these files on this kind of "
        "processor; the SHA-256 seal tells an altered certificate, it is no signature."
    )
    return f"<table><tr><th></th><th>SHA-256</th></tr>{body}</table>" + paragraph(text)


def _words(document: Mapping[str, Any]) -> str:
    bins = document["baseline"]["calibration_bins"]
    return bullets(
        [
            "Baseline: the Keras model whose figures were validated. Engine: what was made from it "
            "to run fast.",
            "Recall of a class: of the slices that show it, the share that is called so.",
            "Agreement: the share of slices that both call the same, rightly or wrongly.",
            "The certificate says that the engine decides like the baseline. It does not say that "
            "the baseline is good.",
            "Macro: the mean over classes, each counting alike. AUROC: one class against the rest. "
            f"Expected calibration error: {bins} equal bins of confidence (Guo et al. 2017).",
        ]
    )
