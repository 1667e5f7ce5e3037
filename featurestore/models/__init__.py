"""Models: saved as immutable versions, checked before they are loaded, served on the features they were trained on."""

from featurestore.models.collection import Models
from featurestore.models.serving import Prediction
from featurestore.models.shelf import ModelVersion

__all__ = ["ModelVersion", "Models", "Prediction"]
