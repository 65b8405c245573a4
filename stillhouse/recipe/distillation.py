"""The `distillation` section."""

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from stillhouse.recipe.settings import Settings


class Distillation(Settings):
    """`(1 - alpha) * cross-entropy + alpha * T^2 * KL(teacher || student)`, over one pass or more of the data."""

    alpha: float = Field(default=0.5, ge=0, le=1)
    """Share of the teacher's distribution in the loss; the rest is the text itself."""
    temperature: PositiveFloat = 2.0
    """Softens both distributions of the KL term, which is scaled by its square."""
    steps: PositiveInt | None = None
    """Optimizer steps; one pass over the training rows when left out."""
    batch_rows: PositiveInt = 4
    """Packed rows in one forward pass."""
    accumulation: PositiveInt = 1
    """Forward passes in one optimizer step."""
    learning_rate: PositiveFloat = 3e-4
    """Peak, reached after the warm-up, then cosine to `final_learning_rate_share` of it."""
    final_learning_rate_share: float = Field(default=0.1, ge=0, le=1)
    """Where the cosine ends, as a share of the peak."""
    warmup_steps: NonNegativeInt = 10
    """Steps of linear warm-up."""
    weight_decay: NonNegativeFloat = 0.01
    """Decoupled (AdamW), on matrices only."""
    max_gradient_norm: PositiveFloat = 1.0
    """Gradients are scaled down to this norm."""
    validate_every: PositiveInt = 50
    """Steps between validations."""
    checkpoint_every: PositiveInt = 50
    """Steps between checkpoints, from which a killed run goes on."""
