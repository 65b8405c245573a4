"""A student and its loss as one module, so that whatever shards or synchronises weights sees every use of them.

B rows, T positions, D features, V words.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from stillhouse.losses.chunked import ChunkedLoss, Chunking, FactoredLogits, chunked_loss
from stillhouse.losses.reduction import IGNORED
from stillhouse.recipe.compute import Precision
from stillhouse.recipe.distillation import Distillation
from stillhouse.teachers.local import plain_head
from stillhouse.teachers.loss_target import loss_target
from stillhouse.teachers.targets import Aligned, Dense, Distribution, Factored, Targets
from stillhouse.training.across_loss import with_distance
from stillhouse.training.batches import Batch
from stillhouse.training.coefficients import Coefficients
from stillhouse.training.divergence import forms_of
from stillhouse.training.features import FeatureMatcher, balanced
from stillhouse.training.plain_loss import plain_loss


@dataclass(frozen=True)
class StepLoss:
    """A loss and its parts, each a mean over the counted tokens."""

    loss: Tensor
    """What is minimised; gradients flow from here alone."""
    cross_entropy: Tensor
    """With the text."""
    teacher_loss: Tensor
    """The divergence from the teacher, or the cross-entropy with its draws."""
    feature_loss: Tensor
    """Between hidden states; 0 where they are not compared."""
    agreement: Tensor | None = None
    """Share of the tokens at which student and teacher find the same one likeliest; `None` where it is not counted."""


_NO_TEACHER = Coefficients(alpha=0.0, temperature=1.0)


class Objective(nn.Module):
    """The student's forward pass up to its loss."""

    def __init__(
        self,
        student: PreTrainedModel,
        distillation: Distillation,
        vocabulary_size: int,
        precision: Precision,
        chunking: Chunking,
        matcher: FeatureMatcher | None = None,
    ):
        """Hold the student.

        Args:
            student: Any causal language model; one whose logits are more than a product gets the plain losses.
            distillation: The recipe's divergence, and how hidden states weigh beside it.
            vocabulary_size: V of the tokenizer; rows of the head beyond it are padding, and no loss sees them.
            precision: bf16 autocast, or fp32.
            chunking: How the loss is cut.
            matcher: Compares hidden states; part of the module, so that it is trained and saved with the student.
        """
        super().__init__()
        self.student = student
        self.matcher = matcher
        self.distillation = distillation
        self.vocabulary_size = vocabulary_size
        self.precision = precision
        self.chunking = chunking
        self.is_factored = plain_head(student) is not None

    def forward(
        self, batch: Batch, targets: Targets | None = None, coefficients: Coefficients = _NO_TEACHER
    ) -> StepLoss:
        """Means over the batch's counted tokens; without what a teacher said, cross-entropy alone."""
        wanted = targets is not None and self.matcher is not None
        distribution = None if targets is None else targets.distribution
        aligned = distribution if isinstance(distribution, Aligned) else None
        known = None if isinstance(distribution, Aligned) else distribution
        with torch.autocast(batch.input_ids.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            read = self.student.base_model if self.is_factored else self.student
            said = read(**batch.inputs_of(self.student), use_cache=False, output_hidden_states=wanted)
            if self.is_factored:
                head = self._head()
                found = self._chunked(FactoredLogits(said.last_hidden_state, head), batch, known, coefficients)
        # Outside: autocast would make products within the losses in bf16.
        if self.is_factored:
            student: Dense | Factored = Factored(said.last_hidden_state.to(head.dtype), head)
        else:
            student = Dense(said.logits[..., : self.vocabulary_size])
            found = plain_loss(student.logits, batch.labels, known, self.distillation, coefficients, batch.weights)
        if aligned is not None:
            found = with_distance(found, student, aligned, batch.num_counted, coefficients)
        return self._with_features(found, said.hidden_states, batch, targets)

    def _head(self) -> Tensor:
        head: Tensor = self.student.get_output_embeddings().weight
        # Not where there is nothing to cut off: the gradient of a slice is a whole new head, filled with zeros.
        return head[: self.vocabulary_size] if len(head) > self.vocabulary_size else head

    def _chunked(
        self, student: FactoredLogits, batch: Batch, known: Distribution | None, coefficients: Coefficients
    ) -> ChunkedLoss:
        target = None
        if known is not None:
            target = loss_target(known, forms_of(self.distillation.loss, coefficients.taid_t).chunked)
        return chunked_loss(
            student,
            batch.labels,
            target,
            alpha=coefficients.alpha,
            temperature=coefficients.temperature,
            chunking=self.chunking,
            weights=batch.weights,
            with_agreement=self.distillation.follows_agreement,
        )

    def _with_features(
        self, found: ChunkedLoss, hidden: tuple[Tensor, ...] | None, batch: Batch, targets: Targets | None
    ) -> StepLoss:
        settings = self.distillation.features
        if self.matcher is None or settings is None or targets is None or hidden is None:
            none = torch.zeros_like(found.cross_entropy)
            return StepLoss(found.loss, found.cross_entropy, found.teacher_loss, none, found.agreement)
        own = {layer: hidden[layer] for layer in self.matcher.student_layers}
        apart = self.matcher(own, targets.hidden_states, batch.labels != IGNORED, batch.weights)
        loss = found.loss + balanced(apart, found.loss, settings)
        return StepLoss(loss, found.cross_entropy, found.teacher_loss, apart.detach(), found.agreement)
