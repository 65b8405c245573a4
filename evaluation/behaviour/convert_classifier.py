"""Turn the classifier of alt-profanity-check into plain numbers, so that no run has to open a pickle.

`python -m evaluation.behaviour.convert_classifier` reads the pinned wheel, opens its two pickles with scikit-learn (a
pickle can run any code when it is opened: this one is pinned by SHA-256, and opened here and nowhere else), and writes
`toxicity_classifier.npz` beside this file. With the path of a JSON file of `sentences` it also notes what scikit-learn
finds of each, which is what the test of `evaluation.behaviour.toxicity` compares with.
"""

import io
import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.behaviour.toxicity import FILE, sentences_of
from stillhouse.data.archives import read_member

ARCHIVE = "alt-profanity-check"
_FOLDER = "profanity_check/data"

logger = logging.getLogger(__name__)


def convert() -> dict[str, NDArray[Any]]:
    """Return the words, their weights and the calibrations of the pinned classifier."""
    vectorizer, model = _open("vectorizer"), _open("model")
    words = sorted(vectorizer.vocabulary_, key=vectorizer.vocabulary_.get)
    folds = model.calibrated_classifiers_
    assert (vectorizer.norm, vectorizer.sublinear_tf, vectorizer.ngram_range) == ("l2", False, (1, 1))
    assert all(fold.method == "sigmoid" and len(fold.calibrators) == 1 for fold in folds)
    return {
        "words": np.array("\n".join(words)),
        "idf_V": vectorizer.idf_.astype(np.float32),
        "weights_FV": np.concatenate([fold.estimator.coef_ for fold in folds]).astype(np.float32),
        "intercepts_F": np.concatenate([fold.estimator.intercept_ for fold in folds]),
        "slopes_F": np.array([fold.calibrators[0].a_ for fold in folds]),
        "offsets_F": np.array([fold.calibrators[0].b_ for fold in folds]),
        "licence": np.array(read_member(ARCHIVE, "alt_profanity_check-1.9.1.dist-info/licenses/LICENSE").decode()),
    }


def record(path: Path) -> None:
    """Write what scikit-learn finds of the `sentences` of a JSON file into it, as `probabilities`."""
    content = json.loads(path.read_text(encoding="utf-8"))
    vectorizer, model = _open("vectorizer"), _open("model")
    found = model.predict_proba(vectorizer.transform(sentences_of(content)))[:, 1]
    content["probabilities"] = [float(probability) for probability in found]
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    """Write the file; with an argument, record what scikit-learn finds."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    np.savez_compressed(FILE, **convert())  # type: ignore[arg-type]  # numpy's stub takes `allow_pickle` for one of them
    logger.info("%s, %d bytes", FILE.name, FILE.stat().st_size)
    for argument in sys.argv[1:]:
        record(Path(argument))


def _open(name: str) -> Any:
    import joblib

    return joblib.load(io.BytesIO(read_member(ARCHIVE, f"{_FOLDER}/{name}.joblib")))


if __name__ == "__main__":
    main()
