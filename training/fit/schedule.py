"""The learning rate over a stage."""

import keras

from training.recipe.recipe import Stage


def learning_rate_schedule(
    stage: Stage, steps_an_epoch: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Linear warm-up to the stage's peak, then cosine decay to its final learning rate."""
    warmup = round(stage.warmup_epochs * steps_an_epoch)
    decay = max(stage.epochs * steps_an_epoch - warmup, 1)
    # Keras takes the floor as a fraction of the peak, with a warm-up or without.
    floor = stage.final_learning_rate / stage.learning_rate
    if not warmup:
        return keras.optimizers.schedules.CosineDecay(stage.learning_rate, decay, alpha=floor)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=stage.learning_rate / warmup,
        decay_steps=decay,
        alpha=floor,
        warmup_target=stage.learning_rate,
        warmup_steps=warmup,
    )
