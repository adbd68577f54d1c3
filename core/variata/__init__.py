"""variata: generative models from interchangeable parts. Importing it imports neither torch nor any plugin."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .declarations import Command, Component, Default, Kind, default, hookimpl
from .errors import (
    ConfigError,
    DataError,
    NonFinite,
    NotPrepared,
    Place,
    PluginError,
    Problem,
    RunError,
    Unsupported,
    UserError,
    VariataWarning,
    suggest,
)

if TYPE_CHECKING:
    from .annealing import LogPartition
    from .api import (
        Assembly,
        build,
        build_data,
        evaluate,
        evaluation_options,
        load,
        prepare,
        train,
        train_assembly,
    )
    from .assembly import make
    from .collection import RunRecord, Runs, runs
    from .columns import Column, ColumnKind
    from .conditions import ConditionVectors, LabelFrequencies, asked_condition, conditions_of, given_condition
    from .config import Spec
    from .data import (
        Batch,
        Data,
        DataSpec,
        Factor,
        FactorData,
        Rows,
        Seed,
        Shape,
        Share,
        Split,
        SplitName,
        TableData,
        check_finite,
        common_spec,
        infer_spec,
        split_rows,
    )
    from .distributions import DiagonalNormal, Layer, StandardNormal, register_rsample_and_kl, rsample_and_kl
    from .estimates import Estimate, EvaluationSettings, bits_per_dimension, estimate, measure_of
    from .evaluation import EvaluationContext, MetricsContext, log_likelihoods
    from .features import Features
    from .interfaces import (
        Autoencoder,
        Chain,
        Classifier,
        Corruption,
        Decoder,
        Density,
        Encoder,
        Energy,
        Factory,
        Finishes,
        Inpainter,
        LatentVariable,
        Layered,
        Loss,
        Marginals,
        Metric,
        Model,
        Network,
        OnePhaseLoss,
        Prepares,
        Prior,
        Sampler,
        Shared,
    )
    from .joint_law import Joint, ancestral, joint
    from .labels import PartlyLabelled, partly_labelled, with_every_label
    from .logger import Logger
    from .objective import Clock, Now, Objective, Optimizer, Phase, Schedule, Scheduled, Term, Update
    from .plugins import load_file, plugin, registry
    from .processes import alone, gathered
    from .progress import stage
    from .run_folder import Run, RunContext, read_log_likelihoods
    from .sequences import END, PADDING, UNKNOWN, Sequences, Vocabulary, padded
    from .shares import in_blocks
    from .signature import signature_of
    from .terms import Terms

__version__ = "0.1.0.dev0"

_LAZY = {
    "annealing": "LogPartition",
    "assembly": "make",
    "api": "Assembly build build_data evaluate evaluation_options load prepare train train_assembly",
    "collection": "RunRecord Runs runs",
    "columns": "Column ColumnKind",
    "conditions": "ConditionVectors LabelFrequencies asked_condition conditions_of given_condition",
    "config": "Spec",
    "data": "Batch Data DataSpec Factor FactorData Rows Seed Shape Share Split SplitName TableData check_finite "
    "common_spec infer_spec split_rows",
    "distributions": "DiagonalNormal Layer StandardNormal register_rsample_and_kl rsample_and_kl",
    "estimates": "Estimate EvaluationSettings bits_per_dimension estimate measure_of",
    "evaluation": "EvaluationContext MetricsContext log_likelihoods",
    "features": "Features",
    "interfaces": "Autoencoder Chain Classifier Corruption Decoder Density Encoder Energy Factory Finishes Inpainter "
    "LatentVariable Layered Loss Marginals Metric Model Network OnePhaseLoss Prepares Prior Sampler Shared",
    "joint_law": "Joint ancestral joint",
    "labels": "PartlyLabelled partly_labelled with_every_label",
    "logger": "Logger",
    "objective": "Clock Now Objective Optimizer Phase Schedule Scheduled Term Update",
    "plugins": "load_file plugin registry",
    "processes": "alone gathered",
    "progress": "stage",
    "run_folder": "Run RunContext read_log_likelihoods",
    "sequences": "END PADDING UNKNOWN Sequences Vocabulary padded",
    "shares": "in_blocks",
    "signature": "signature_of",
    "terms": "Terms",
}
_MODULE_OF = {name: module for module, names in _LAZY.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'variata' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "END",
    "PADDING",
    "UNKNOWN",
    "Assembly",
    "Autoencoder",
    "Batch",
    "Chain",
    "Classifier",
    "Clock",
    "Column",
    "ColumnKind",
    "Command",
    "Component",
    "ConditionVectors",
    "ConfigError",
    "Corruption",
    "Data",
    "DataError",
    "DataSpec",
    "Decoder",
    "Default",
    "Density",
    "DiagonalNormal",
    "Encoder",
    "Energy",
    "Estimate",
    "EvaluationContext",
    "EvaluationSettings",
    "Factor",
    "FactorData",
    "Factory",
    "Features",
    "Finishes",
    "Inpainter",
    "Joint",
    "Kind",
    "LabelFrequencies",
    "LatentVariable",
    "Layer",
    "Layered",
    "LogPartition",
    "Logger",
    "Loss",
    "Marginals",
    "Metric",
    "MetricsContext",
    "Model",
    "Network",
    "NonFinite",
    "NotPrepared",
    "Now",
    "Objective",
    "OnePhaseLoss",
    "Optimizer",
    "PartlyLabelled",
    "Phase",
    "Place",
    "PluginError",
    "Prepares",
    "Prior",
    "Problem",
    "Rows",
    "Run",
    "RunContext",
    "RunError",
    "RunRecord",
    "Runs",
    "Sampler",
    "Schedule",
    "Scheduled",
    "Seed",
    "Sequences",
    "Shape",
    "Share",
    "Shared",
    "Spec",
    "Split",
    "SplitName",
    "StandardNormal",
    "TableData",
    "Term",
    "Terms",
    "Unsupported",
    "Update",
    "UserError",
    "VariataWarning",
    "Vocabulary",
    "__version__",
    "alone",
    "ancestral",
    "asked_condition",
    "bits_per_dimension",
    "build",
    "build_data",
    "check_finite",
    "common_spec",
    "conditions_of",
    "default",
    "estimate",
    "evaluate",
    "evaluation_options",
    "gathered",
    "given_condition",
    "hookimpl",
    "in_blocks",
    "infer_spec",
    "joint",
    "load",
    "load_file",
    "log_likelihoods",
    "make",
    "measure_of",
    "padded",
    "partly_labelled",
    "plugin",
    "prepare",
    "read_log_likelihoods",
    "register_rsample_and_kl",
    "registry",
    "rsample_and_kl",
    "runs",
    "signature_of",
    "split_rows",
    "stage",
    "suggest",
    "train",
    "train_assembly",
    "with_every_label",
]
