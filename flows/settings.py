"""A recipe, with every `auto` decided and every source found, as the settings of each stage."""

from dataclasses import dataclass, field

from evaluation.assemble import AssembleSettings
from evaluation.behaviour.evaluate import BehaviourSettings, behaviour_settings
from evaluation.capability import CapabilitySettings, capability_settings
from evaluation.contamination import ContaminationSettings, contamination_settings
from evaluation.efficiency import EfficiencySettings
from evaluation.held_out import HeldOutSettings
from evaluation.parity import ParitySettings
from evaluation.report.render import ReportSettings
from export.onnx.export import ExportOnnxSettings
from export.package import PackageSettings
from export.quantization.bnb import BnbKind, QuantizeBnbSettings
from export.quantization.int4 import QuantizeInt4Settings
from export.quantization.int8 import QuantizeInt8Settings
from export.variants import CopyStudentSettings
from flows.environment import code_version, device_name, environment
from stillhouse.data.choose_prompts import ChoosePromptsSettings, prompts_of_others, prompts_of_own
from stillhouse.data.choose_responses import ChooseSettings, choose_settings
from stillhouse.data.documents import GatherSettings, gather_settings
from stillhouse.data.encode import EncodeSettings
from stillhouse.data.encode_again import EncodeAgainSettings
from stillhouse.data.rounds import RoundSettings
from stillhouse.data.select import SelectSettings
from stillhouse.models.fresh import FreshStudentSettings
from stillhouse.models.low_rank import LowRankSettings
from stillhouse.models.narrow_students import PruneLayersAndWidthsSettings, PruneWidthsSettings
from stillhouse.models.own_tokenizer import TrainTokenizerSettings
from stillhouse.models.pruning import PruneSettings
from stillhouse.models.refit import RefitSettings
from stillhouse.models.teacher import LoadTeacherSettings
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.continual import Continual, earlier_sets
from stillhouse.recipe.knowledge import Ensemble
from stillhouse.recipe.low_rank import LowRank
from stillhouse.recipe.pruned import DepthAndWidthPruned, DepthPruned, WidthPruned
from stillhouse.recipe.recipe import ExportRecipe, Recipe
from stillhouse.recipe.source import Source
from stillhouse.recipe.student import ExistingModel, Fresh, Student, TrainedTokenizer
from stillhouse.store.artifact import Reference
from stillhouse.teachers.answers import AnswerSettings
from stillhouse.teachers.difficulty import DifficultySettings
from stillhouse.teachers.rationales import RationaleSettings, rationale_settings
from stillhouse.teachers.responses import SampleSettings, sample_settings
from stillhouse.training.distill import DistillSettings

SettingsOfStart = (
    PruneSettings
    | PruneWidthsSettings
    | PruneLayersAndWidthsSettings
    | LowRankSettings
    | FreshStudentSettings
    | LoadTeacherSettings
)
"""Of the stages that make a student before it is trained."""


@dataclass(frozen=True)
class SettingsOfAnswering:
    """What the stages are told that another teacher answers prompts by, besides how prompts are answered."""

    teacher: LoadTeacherSettings
    """Of `load_teacher`."""
    prompts: ChoosePromptsSettings
    """Of `choose_prompts`."""


@dataclass(frozen=True)
class SettingsOfDelivery:
    """What each stage is told that measures a model, makes its variants and packages them."""

    recipe: Recipe | ExportRecipe
    compute: Compute
    data_sources: tuple[Source, ...]
    probe: Reference
    """What timed the precisions; a run that may go on needs its answer kept."""
    answering_sources: tuple[Source, ...] = field(default=(), kw_only=True)
    """The other teachers that answer prompts."""

    @property
    def variants(self) -> tuple[str, ...]:
        """The variants that the recipe asks for."""
        return self.recipe.export.variants

    @property
    def documents(self) -> GatherSettings:
        """Of `gather_documents`."""
        return gather_settings(self.recipe.data, self.data_sources, self.compute.seed)

    @property
    def contamination(self) -> ContaminationSettings:
        """Of `measure_contamination`."""
        return contamination_settings(self.recipe.evaluation)

    @property
    def select(self) -> SelectSettings | None:
        """Of `select_documents`; `None` where all that is gathered is taken."""
        asked = self.recipe.data.selection
        return None if asked is None else SelectSettings(selection=asked, seed=self.compute.seed)

    @property
    def answers(self) -> AnswerSettings:
        """Of `answer_prompts`."""
        # What is sampled is another stage's, and who answers is an input: the greedy answers stay the same ones.
        greedy = self.recipe.data.answers.model_copy(update={"sampled": None, "others": ()})
        return AnswerSettings(answers=greedy, compute=self.compute)

    @property
    def sampled(self) -> SampleSettings | None:
        """Of `sample_responses`; `None` where every prompt has one answer."""
        return sample_settings(self.recipe.data, self.compute)

    @property
    def responses(self) -> ChooseSettings | None:
        """Of `choose_responses`; `None` where all responses are taken, and alike."""
        return choose_settings(self.recipe.data)

    @property
    def own_prompts(self) -> ChoosePromptsSettings | None:
        """Of `choose_prompts`, for the recipe's own teacher; `None` where it answers all prompts."""
        return prompts_of_own(self.recipe.data)

    @property
    def answering(self) -> tuple[SettingsOfAnswering, ...]:
        """Of the other teachers that answer prompts, in the recipe's order."""
        data = self.recipe.data
        asked = zip(data.answers.others, self.answering_sources, prompts_of_others(data), strict=True)
        return tuple(
            SettingsOfAnswering(
                LoadTeacherSettings(source=source, trust_remote_code=other.teacher.trust_remote_code), prompts
            )
            for other, source, prompts in asked
        )

    @property
    def rationales(self) -> RationaleSettings | None:
        """Of `write_rationales`; `None` where no set has problems."""
        return rationale_settings(self.recipe.data, self.compute)

    @property
    def encode(self) -> EncodeSettings:
        """Of `encode_documents`."""
        data = self.recipe.data
        return EncodeSettings(
            train_tokens=data.train_tokens,
            validation_tokens=data.validation_tokens,
            held_out_tokens=data.held_out_tokens,
            sequence_length=data.sequence_length,
        )

    @property
    def encode_again(self) -> EncodeAgainSettings:
        """Of `encode_for_teacher`."""
        return EncodeAgainSettings()

    @property
    def own_tokenizer(self) -> TrainTokenizerSettings | LoadTeacherSettings | None:
        """Of the stage that gives the student's own tokenizer; `None` where it has its teacher's, or none beside it."""
        return None

    @property
    def capability(self) -> CapabilitySettings:
        """Of `evaluate_capability`."""
        return capability_settings(self.recipe.evaluation, self.compute)

    @property
    def capability_of_variants(self) -> CapabilitySettings:
        """Of `evaluate_capability` for a variant, whose name says its precision; fewer documents, or none."""
        asked, number = self.recipe.evaluation, self.recipe.evaluation.variant_documents
        fewer = {"documents": number} if number else {"benchmarks": ()}
        compute = self.compute.model_copy(update={"precision": "fp32"})
        settings = capability_settings(asked.model_copy(update=fewer), compute)
        return settings.model_copy(update={"among": asked.documents} if number else {})

    @property
    def held_out(self) -> HeldOutSettings:
        """Of `measure_held_out`."""
        return HeldOutSettings(
            device=self.compute.device,
            threads=self.compute.threads,
            seed=self.compute.seed,
        )

    @property
    def copy_student(self) -> CopyStudentSettings:
        """Of `copy_student`."""
        return CopyStudentSettings()

    @property
    def export_onnx(self) -> ExportOnnxSettings:
        """Of `export_onnx`."""
        return ExportOnnxSettings()

    @property
    def quantize_int4(self) -> QuantizeInt4Settings:
        """Of `quantize_int4`."""
        return QuantizeInt4Settings(int4=self.recipe.export.int4, threads=self.compute.threads)

    @property
    def parity(self) -> ParitySettings:
        """Of `measure_parity`."""
        asked = self.recipe.evaluation
        return ParitySettings(
            parity_tokens=asked.parity_tokens,
            greedy_tokens=asked.greedy_tokens,
            device=self.compute.device,
            threads=self.compute.threads,
            seed=self.compute.seed,
        )

    @property
    def efficiency(self) -> EfficiencySettings:
        """Of `measure_efficiency`; the processor is in the key, as the figures are of no other."""
        return EfficiencySettings(
            benchmark=self.recipe.benchmark,
            threads=self.compute.threads,
            device=self.compute.device,
            processor=device_name(self.compute.device),
        )

    @property
    def behaviour(self) -> BehaviourSettings:
        """Of `evaluate_behaviour`."""
        return behaviour_settings(self.recipe.evaluation, self.compute)

    @property
    def quantize_int8(self) -> QuantizeInt8Settings:
        """Of `quantize_int8`."""
        return QuantizeInt8Settings(int8=self.recipe.export.int8, threads=self.compute.threads)

    def quantize_bnb(self, kind: BnbKind) -> QuantizeBnbSettings:
        """Of `quantize_bnb`."""
        return QuantizeBnbSettings(kind=kind, device=self.compute.device, threads=self.compute.threads)

    def assemble(self, absent: dict[str, str]) -> AssembleSettings:
        """Of `assemble_results`, given the variants that could not be made."""
        return AssembleSettings(
            recipe=self.recipe,
            compute=self.compute,
            code=code_version(),
            environment=environment(),
            absent=absent,
        )

    @property
    def report(self) -> ReportSettings:
        """Of `write_report`."""
        return ReportSettings(name=self.recipe.name)

    @property
    def package(self) -> PackageSettings:
        """Of `build_package`."""
        return PackageSettings(
            name=self.recipe.name, smoke_prompts=self.recipe.export.smoke_prompts, threads=self.compute.threads
        )


@dataclass(frozen=True)
class SettingsOfStages(SettingsOfDelivery):
    """What each stage of a compression is told, the training of its student included."""

    recipe: Recipe
    teacher_source: Source
    student_source: Source | None
    """`None` where the student is cut from the teacher."""
    member_sources: tuple[Source, ...] = ()
    """The other teachers of an ensemble."""
    round_sources: tuple[Source | None, ...] = ()
    """Of each round of a continual route its teacher, `None` where that is the recipe's."""

    @property
    def teacher(self) -> LoadTeacherSettings:
        """Of `load_teacher`."""
        trusted = self.recipe.teacher.trust_remote_code
        return LoadTeacherSettings(source=self.teacher_source, trust_remote_code=trusted)

    @property
    def own_tokenizer(self) -> TrainTokenizerSettings | LoadTeacherSettings | None:
        """Of `train_tokenizer`, or of `load_student` where it comes with a model."""
        match self.recipe.student:
            case Fresh(tokenizer=TrainedTokenizer() as tokenizer):
                return TrainTokenizerSettings(tokenizer=tokenizer)
            case ExistingModel(tokenizer="own"):
                assert isinstance(self.start, LoadTeacherSettings)
                return self.start
            case _:
                return None

    @property
    def start(self) -> SettingsOfStart:
        """Of the stage that makes what the student starts from."""
        return self._start_of(self.recipe.student)

    @property
    def cut(self) -> SettingsOfStart | None:
        """Of the stage that cuts the teacher before its layers are made low rank; `None` where it is not cut."""
        match self.recipe.student:
            case LowRank(cut=cut) if cut is not None:
                return self._start_of(cut)
            case _:
                return None

    def _start_of(self, student: Student) -> SettingsOfStart:
        length = self.recipe.data.sequence_length
        # What stays is chosen by small differences, which bf16 rounds away, and each processor its own way.
        exact = self.compute.model_copy(update={"precision": "fp32"})
        match student:
            case DepthPruned():
                return PruneSettings(student=student, sequence_length=length, compute=exact)
            case WidthPruned():
                return PruneWidthsSettings(student=student, sequence_length=length, compute=exact)
            case DepthAndWidthPruned():
                return PruneLayersAndWidthsSettings(student=student, sequence_length=length, compute=exact)
            case LowRank():
                return LowRankSettings(student=student, sequence_length=length, compute=self.compute)
            case Fresh():
                return FreshStudentSettings(student=student, seed=self.compute.seed)
            case ExistingModel(trust_remote_code=trusted):
                assert self.student_source is not None
                return LoadTeacherSettings(source=self.student_source, trust_remote_code=trusted)

    @property
    def refit(self) -> RefitSettings | None:
        """Of `refit_layers`; `None` where the start stays as it was cut."""
        if self.recipe.refit is None:
            return None
        length = self.recipe.data.sequence_length
        return RefitSettings(refit=self.recipe.refit, sequence_length=length, compute=self.compute)

    @property
    def members(self) -> tuple[LoadTeacherSettings, ...]:
        """Of `load_teacher`, for the other teachers of an ensemble."""
        if not isinstance(self.recipe.knowledge, Ensemble):
            return ()
        asked = zip(self.recipe.knowledge.members, self.member_sources, strict=True)
        return tuple(
            LoadTeacherSettings(source=source, trust_remote_code=member.teacher.trust_remote_code)
            for member, source in asked
        )

    @property
    def rounds(self) -> tuple[RoundSettings, ...]:
        """Of `choose_round`; none where the route is not continual."""
        if not isinstance(route := self.recipe.route, Continual):
            return ()
        return tuple(
            RoundSettings(
                new=told.sets, earlier=earlier_sets(route, number), replay=route.replay, seed=self.recipe.seed
            )
            for number, told in enumerate(route.rounds)
        )

    @property
    def round_teachers(self) -> tuple[LoadTeacherSettings | None, ...]:
        """Of `load_teacher`, for each round that has a teacher of its own."""
        if not isinstance(route := self.recipe.route, Continual):
            return ()
        return tuple(
            None
            if source is None or told.teacher is None
            else LoadTeacherSettings(source=source, trust_remote_code=told.teacher.trust_remote_code)
            for told, source in zip(route.rounds, self.round_sources, strict=True)
        )

    @property
    def distill(self) -> DistillSettings:
        """Of `distill`."""
        return DistillSettings(
            distillation=self.recipe.distillation,
            knowledge=self.recipe.knowledge,
            sequence_length=self.recipe.data.sequence_length,
            compute=self.compute,
            training=self.recipe.compute,
            curriculum=self.recipe.curriculum,
        )

    @property
    def difficulty(self) -> DifficultySettings:
        """Of `measure_difficulty`. The seed is left out: another seed of training keeps what was read."""
        return DifficultySettings(
            sequence_length=self.recipe.data.sequence_length,
            batch_rows=self.recipe.distillation.batch_rows,
            compute=self.compute.model_copy(update={"seed": 0}),
        )


@dataclass(frozen=True)
class SettingsOfExport(SettingsOfDelivery):
    """What each stage of an export is told."""

    recipe: ExportRecipe
    model_source: Source

    @property
    def model(self) -> LoadTeacherSettings:
        """Of `load_student`."""
        return LoadTeacherSettings(source=self.model_source, trust_remote_code=self.recipe.model.trust_remote_code)
