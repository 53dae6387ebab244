"""Training a recipe: stages, validation, resumption, and the baseline at the end."""

import csv
import hashlib
import io
import itertools
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedGroupKFold

from neuroscan_edge.errors import DatasetError, NeuroScanError
from neuroscan_edge.model.baseline import Baseline, read_baseline, write_card
from neuroscan_edge.model.labels import printable
from neuroscan_edge.parity.evaluation.duplicates import duplicate_groups
from neuroscan_edge.parity.evaluation.images import Images, load_images
from neuroscan_edge.parity.evaluation.metrics import classification_metrics
from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from neuroscan_edge.scans.dataset import Split, load_split, open_dataset
from neuroscan_edge.system.files import sha256_file, write_whole
from training.audit.record import Audit
from training.fit.batches import TrainingBatches, steps_per_epoch
from training.fit.callbacks import Clock, Report, StateSaver, StepTimer
from training.fit.checkpoint import (
    RunPosition,
    average_weights,
    load_weights,
    read_position,
    restore_run,
    save_rounded,
    save_run,
    save_weights,
)
from training.fit.curves import draw_curves
from training.fit.memory import check_memory
from training.fit.model import BackboneWeights, build_classifier, set_trainable
from training.fit.optimizer import stage_optimizer
from training.fit.tasks import FEATURE_BATCH, StageTask, is_head_only, stage_task
from training.fit.temperature import fit_temperature, fold_temperature
from training.recipe.recipe import DataRecipe, PoolRecipe, Recipe, Stage
from training.report.folder import make_report_folder
from training.sources.groups import divide, read_held_out
from training.sources.listing import count_by, list_sources
from training.sources.pool import fingerprint, load_pool
from training.sources.sampling import BalancedSampler

HISTORY_FIELDS = (
    "epoch",
    "stage",
    "loss",
    "accuracy",
    "validation_loss",
    "validation_accuracy",
    "images_per_s",
)


class TrainingError(NeuroScanError):
    """Training cannot go on."""


@dataclass(frozen=True, slots=True)
class FitOptions:
    """What a run needs besides its recipe.

    Parameters
    ----------
    data : Path
        Data set folder or zip.
    output : Path
        Folder for everything the run writes; holding an unfinished run, that run is resumed.
    weights : BackboneWeights
        Initial backbone weights.
    save_every_s : float
        Seconds between saved states; a kill loses at most this much.
    audit : Audit or None
        Of the very data: images it found under two labels are left out.
    extra : Path or None
        Indexed folder of further sources, for a recipe with a pool.
    study_patients : Path or None
        CSV of the patients of the split folder's images, for a recipe with a pool.
    held_out : Path or None
        List of the images that no network trains on; a recipe with a pool needs it.
    """

    data: Path
    output: Path
    weights: BackboneWeights
    save_every_s: float = 300.0
    audit: Audit | None = None
    extra: Path | None = None
    study_patients: Path | None = None
    held_out: Path | None = None


def fit(recipe: Recipe, options: FitOptions, report: Report = lambda progress: None) -> Baseline:
    """Train a recipe, or resume it, and write the baseline.

    `options.output` receives ``NAME.keras`` (kernels rounded to float16), its card ``NAME.json``,
    ``history.csv``, ``curves.png`` and ``metrics.json``. Where this very run has ended before, its
    baseline is returned as it stands.

    Raises
    ------
    DatasetError
        If the data cannot be used, the audit is of other data, or the folder holds a run of
        another recipe, data or initial weights.
    WeightsError
        If a stage names a layer that the network does not have.
    MemoryShortageError
        If any stage's batch does not fit into memory; said before the first begins.
    """
    make_report_folder(options.output)
    if recipe.pool is not None:
        run = _pooled_run(recipe, recipe.pool, options, report)
        return run.finished() or run.finish(run.train())
    found = load_split(open_dataset(options.data, options.output / "data"), "training")
    split = options.audit.without_conflicts(found) if options.audit else found
    images = load_images(split, recipe.preprocessing)
    training, validation = validation_split(images, recipe.data, recipe.seed)
    if recipe.data.classes:
        # After the division: what one recipe of this seed holds out, all of them hold out.
        kept = split.only(recipe.data.classes)
        images = images.relabelled(split.labels, kept.labels)
        training = training[images.targets[training] >= 0]
        validation = validation[images.targets[validation] >= 0]
        split = kept
    about = {
        "fingerprint": split.fingerprint,
        # Of the whole training split, whatever the recipe or an audit left out of it.
        "split_fingerprint": found.fingerprint,
        "audited": options.audit is not None,
        "counts": _counts(images.targets, split.labels),
        "held_out": _counts(images.targets[validation], split.labels),
        "unreadable": len(images.unreadable),
    }
    run = _Run(recipe, options, split, images, training, validation, about, report)
    return run.finished() or run.finish(run.train())


def _pooled_run(recipe: Recipe, pool: PoolRecipe, options: FitOptions, report: Report) -> "_Run":
    if options.held_out is None:
        raise DatasetError(
            "a recipe with several sources needs the list of held-out images; give --held-out"
        )
    held_out = read_held_out(options.held_out)
    study = open_dataset(options.data, options.output / "data")
    loaded = load_pool(
        list_sources(study, options.extra, options.study_patients), pool, recipe.preprocessing
    )
    parts = divide(loaded.files, loaded.groups, held_out, pool.left_out, pool.validation_share)
    images, labels = loaded.images, loaded.split.labels
    known = images.targets >= 0
    training = parts.training[known[parts.training]]
    validation = parts.validation[known[parts.validation]]
    trained_files = [loaded.files[position] for position in training]
    about = {
        "fingerprint": fingerprint(trained_files),
        "split_fingerprint": loaded.split.fingerprint,
        "audited": False,
        "counts": _counts(images.targets[np.concatenate([training, validation])], labels),
        "held_out": _counts(images.targets[validation], labels),
        "unreadable": len(images.unreadable),
        "sources": {
            source: {
                label: int(count)
                for (of, label), count in sorted(count_by(trained_files, "source", "label").items())
                if of == source
            }
            for source in sorted({file.source for file in trained_files})
        },
        "left_out_sources": list(pool.left_out),
        "held_out_sha256": sha256_file(options.held_out),
    }
    cells = [(loaded.files[p].source, loaded.files[p].label) for p in validation]
    sizes = Counter(cells)
    weights = np.array([1 / (len(sizes) * sizes[cell]) for cell in cells])
    sampler = BalancedSampler(trained_files, pool.weights)
    run = _Run(recipe, options, loaded.split, images, training, validation, about, report)
    run.draw_from(sampler, weights)
    return run


def validation_split(
    images: Images, recipe: DataRecipe, seed: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Divide a split by class, keeping near-duplicates together.

    Returns two arrays of positions: training and validation.

    Raises
    ------
    DatasetError
        If either would lack a class.
    """
    groups = duplicate_groups(images.hashes, recipe.duplicate_distance)
    splitter = StratifiedGroupKFold(recipe.folds, shuffle=True, random_state=seed)
    try:
        divided = splitter.split(images.resized, images.targets, groups)
        training, validation = next(itertools.islice(divided, recipe.fold, None))
    except ValueError as error:
        raise DatasetError(
            f"the training split cannot be divided into {recipe.folds} parts by class ({error}); "
            "use more images, or a larger validation_fraction"
        ) from error
    for part, name in ((training, "the training part"), (validation, "the held-out part")):
        missing = set(images.targets) - set(images.targets[part])
        if missing:
            raise DatasetError(
                f"{name} has no image of {len(missing)} classes: too many of theirs are "
                "near-duplicates of one another; use more images, another fold, or a smaller "
                "duplicate_distance"
            )
    return training, validation


def _counts(targets: npt.NDArray[np.int64], labels: Sequence[str]) -> dict[str, int]:
    return {name: int((targets == index).sum()) for index, name in enumerate(labels)}


class _Run:
    """One training run; its methods share the data and the folder."""

    def __init__(
        self,
        recipe: Recipe,
        options: FitOptions,
        split: Split,
        images: Images,
        training: npt.NDArray[np.intp],
        validation: npt.NDArray[np.intp],
        about_data: dict[str, Any],
        report: Report,
    ) -> None:
        self.recipe = recipe
        self.options = options
        self.split = split
        self.images = images
        self.training = training
        self.validation = validation
        self.about_data = about_data
        self.report = report
        self.state_file = options.output / "state.npz"
        self.best_file = options.output / "best.npz"
        self.history_file = options.output / "history.csv"
        # Which file stands where decides split and batches.
        order = [file.sha256 for file in images.files]
        # The same weights under another name are the same weights.
        weights = {k: v for k, v in options.weights.to_json().items() if k != "file"}
        parts: list[Any] = [recipe.to_json(), order, split.labels, weights]
        if recipe.pool is not None:
            # Another held-out list or list of patients divides the same files otherwise.
            parts += [about_data["held_out_sha256"], about_data["fingerprint"]]
        text = json.dumps(parts, sort_keys=True)
        self.identity = hashlib.sha256(text.encode()).hexdigest()
        self.sampler: BalancedSampler | None = None
        self.validation_weights = np.full(len(validation), 1 / len(validation))
        self.steps = steps_per_epoch(len(training), recipe)
        preprocessor = CpuPreprocessor(recipe.preprocessing)
        self.validation_images = np.stack(
            [preprocessor.equalise(images.resized[i]) for i in validation]
        )

    def draw_from(self, sampler: BalancedSampler, weights: npt.NDArray[np.float64]) -> None:
        """Draw training slices by a sampler, and weigh validation slices; weights sum to 1."""
        pool = self.recipe.pool
        assert pool is not None
        self.sampler = sampler
        self.validation_weights = weights
        self.steps = steps_per_epoch(pool.epoch_images, self.recipe)

    def finished(self) -> Baseline | None:
        """Return the baseline if this very run has ended here before.

        Raises
        ------
        DatasetError
            If another run has.
        """
        path = self.options.output / f"{self.recipe.name}.keras"
        try:
            record = json.loads((self.options.output / "metrics.json").read_text())
        except (OSError, ValueError):
            return None
        if record.get("run_sha256") != self.identity:
            raise DatasetError(
                f"{self.options.output} holds a finished run of another recipe, other data or "
                "other initial weights; give another --output, or remove it"
            )
        return read_baseline(path)

    def train(self) -> list[npt.NDArray[np.float32]]:
        """Go through the stages that are left; returns the best weights of those wanted."""
        recipe = self.recipe
        position = self._saved_position()
        resuming = self.state_file.exists()
        keras.config.set_dtype_policy(recipe.fit.precision)
        self._check_stages(position.stage)
        # After the check, which builds networks of its own.
        keras.utils.set_random_seed(recipe.seed)
        clock = Clock(self.report, recipe, self.steps)
        for index in range(position.stage, len(recipe.stages)):
            stage = recipe.stages[index]
            task = self._task(stage, first=index == 0)
            if resuming:
                restore_run(self.state_file, task.trained)
                resuming = False
            else:
                position = replace(position, stage=index, step=0, best_loss=math.inf)
                # From here on best.npz belongs to this stage: its start must not depend on it.
                task.trained.optimizer.build(task.trained.trainable_variables)
                save_run(self.state_file, task.trained, position)
            position = self._train_stage(task, stage, position, clock)
            if index + 1 in recipe.fit.averaged_stages:
                # Before the next stage takes best.npz; a kill in between does this again.
                write_whole(self._stage_file(index + 1), self.best_file.read_bytes())
            keras.backend.clear_session()
        wanted = [self._stage_file(stage) for stage in recipe.fit.averaged_stages]
        return average_weights([load_weights(path) for path in wanted or [self.best_file]])

    def finish(self, weights: list[npt.NDArray[np.float32]]) -> Baseline:
        """Rebuild under float32, round, save, and measure what was saved."""
        recipe, folder = self.recipe, self.options.output
        # A model built under a mixed policy exports to a graph that ONNX Runtime cannot load.
        keras.config.set_dtype_policy("float32")
        model = build_classifier(recipe.model, len(self.split.labels), recipe.preprocessing.shape)
        model.set_weights(weights)
        batch, size = self.validation_images[..., None], recipe.fit.batch_size
        targets = self.images.targets[self.validation]
        temperature = None
        if recipe.fit.temperature_scaling:
            probabilities = model.predict(batch, batch_size=size, verbose=0)
            temperature = fit_temperature(probabilities, targets)
            fold_temperature(model, temperature)
        path = folder / f"{recipe.name}.keras"
        save_rounded(model, path)
        model = keras.models.load_model(path)
        probabilities = model.predict(batch, batch_size=size, verbose=0)
        metrics = classification_metrics(targets, probabilities, self.split.labels)
        baseline = Baseline(
            path=path,
            name=recipe.name,
            sha256=sha256_file(path),
            labels=self.split.labels,
            preprocessing=recipe.preprocessing,
            training_data=self.about_data,
            recipe=recipe.to_json(),
            metrics={"validation": metrics},
            initial_weights=self.options.weights.to_json(),
        )
        write_card(baseline)
        record = {
            "run_sha256": self.identity,
            "validation": metrics,
            "images": {"training": len(self.training), "validation": len(self.validation)},
            "unreadable": [
                {"file": printable(each.path.name), "reason": printable(each.reason)}
                for each in self.images.unreadable
            ],
            "temperature": temperature,
            "backbone_weights": self.options.weights.to_json(),
        }
        draw_curves(self.history_file, folder / "curves.png", title=recipe.name)
        # Last: it says that the run is done.
        write_whole(folder / "metrics.json", (json.dumps(record, indent=2) + "\n").encode())
        self.state_file.unlink(missing_ok=True)
        for path in (self.best_file, *map(self._stage_file, recipe.fit.averaged_stages)):
            path.unlink(missing_ok=True)
        return baseline

    def _stage_file(self, stage: int) -> Path:
        return self.options.output / f"stage-{stage}.npz"

    def _saved_position(self) -> RunPosition:
        if not self.state_file.exists():
            self._write_history([])
            return RunPosition(self.identity, 0, 0, 0, math.inf)
        position = read_position(self.state_file)
        if position.recipe_sha256 != self.identity:
            raise DatasetError(
                f"{self.options.output} holds an unfinished run of another recipe, other data or "
                "other initial weights; give the same ones to resume it, or another --output"
            )
        self._write_history(self._history()[: position.epoch])
        return position

    def _check_stages(self, first: int) -> None:
        """Refuse what cannot be trained before hours are spent on what can."""
        recipe = self.recipe
        different = {
            (self._size(stage), stage.trainable, is_head_only(recipe, stage))
            for stage in recipe.stages[first:]
        }
        for size, trainable, head_only in different:
            model = build_classifier(recipe.model, len(self.split.labels), size)
            set_trainable(model, trainable)
            batch = recipe.fit.batch_size
            check_memory(model, min(batch, FEATURE_BATCH) if head_only else batch)
            keras.backend.clear_session()

    def _size(self, stage: Stage) -> tuple[int, int]:
        if stage.image_size is None:
            return self.recipe.preprocessing.shape
        return stage.image_size, stage.image_size

    def _task(self, stage: Stage, *, first: bool) -> StageTask:
        recipe = self.recipe
        weights = self.options.weights if first else None
        model = build_classifier(recipe.model, len(self.split.labels), self._size(stage), weights)
        if not first:
            # Of the stage before; a resumed head finds its frozen backbone in it either way.
            model.set_weights(load_weights(self.best_file))
        set_trainable(model, stage.trainable)
        resized = self.images.resized[self.training]
        targets = self.images.targets[self.training]
        task = stage_task(model, recipe, stage, resized, targets, self.validation_images)
        optimizer = stage_optimizer(model, stage, recipe.fit, self.steps)
        task.trained.compile(
            optimizer, keras.losses.CategoricalCrossentropy(), weighted_metrics=["accuracy"]
        )
        return task

    def _train_stage(
        self, task: StageTask, stage: Stage, position: RunPosition, clock: Clock
    ) -> RunPosition:
        recipe = self.recipe
        epochs_before = sum(each.epochs for each in recipe.stages[: position.stage])
        for epoch in range(position.epoch, epochs_before + stage.epochs):
            batches = TrainingBatches(
                task.draw,
                self.images.targets[self.training],
                len(self.split.labels),
                recipe,
                epoch,
                position.step,
                self._order(epoch),
            )
            saver = StateSaver(self.state_file, position, self.steps, self.options.save_every_s)
            callbacks = [StepTimer(clock, epoch, position.step), saver]
            # fit() ends by putting the moving average, if there is one, into the weights.
            # In order: a saved step means that all before it are done.
            fitted = task.trained.fit(
                batches, epochs=1, verbose=0, callbacks=callbacks, shuffle=False
            )
            validated = self._validate(task)
            if not math.isfinite(validated["validation_loss"]):
                raise TrainingError(
                    f"the loss is not finite after epoch {epoch + 1}; "
                    "lower the recipe's learning_rate and give another --output"
                )
            row = {
                "epoch": epoch + 1,
                "stage": position.stage + 1,
                "loss": fitted.history["loss"][-1],
                "accuracy": fitted.history["accuracy"][-1],
                **validated,
                "images_per_s": clock.images_per_s,
            }
            self._write_history([*self._history(), row])
            best = min(position.best_loss, validated["validation_loss"])
            if best < position.best_loss or not self.best_file.exists():
                save_weights(self.best_file, task.model)
            position = replace(position, epoch=epoch + 1, step=0, best_loss=best)
            save_run(self.state_file, task.trained, position)
        return position

    def _order(self, epoch: int) -> npt.NDArray[np.intp] | None:
        if self.sampler is None or self.recipe.pool is None:
            return None
        return self.sampler.order(self.recipe.seed, epoch, self.recipe.pool.epoch_images)

    def _validate(self, task: StageTask) -> dict[str, float]:
        size = self.recipe.fit.batch_size
        probabilities = task.trained.predict(task.validation, batch_size=size, verbose=0)
        targets = self.images.targets[self.validation]
        chosen = np.clip(probabilities[np.arange(len(targets)), targets], 1e-7, 1)
        return {
            "validation_loss": float(-np.log(chosen) @ self.validation_weights),
            "validation_accuracy": float(
                (probabilities.argmax(axis=1) == targets) @ self.validation_weights
            ),
        }

    def _history(self) -> list[dict[str, object]]:
        with self.history_file.open(newline="") as file:
            return list(csv.DictReader(file))

    def _write_history(self, rows: list[dict[str, object]]) -> None:
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, HISTORY_FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_whole(self.history_file, buffer.getvalue().encode())
