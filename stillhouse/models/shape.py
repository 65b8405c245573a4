"""The size of a model, as far as preflight needs it to foresee memory, disk and time."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class ModelShape:
    """What a model's own description says of its size, without its weights having been read."""

    layers: int
    """Decoder blocks."""
    hidden_size: int
    """Width of the residual stream."""
    vocabulary_size: int
    """Rows of the embedding, which may be more than the tokenizer has tokens."""
    parameters: int
    """Weights in all; an embedding that is also the output head counts once."""
    context_length: int
    """Positions the model was made for."""

    def with_layers(self, layers: int) -> "ModelShape":
        """The shape after depth pruning; what lies outside the embedding is taken to lie in the layers."""
        embedding = self.vocabulary_size * self.hidden_size
        in_layers = (self.parameters - embedding) * layers // self.layers
        return replace(self, layers=layers, parameters=embedding + in_layers)
