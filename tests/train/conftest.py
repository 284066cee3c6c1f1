"""Tests in this folder run with strict promotion of dtypes."""

from tests.helpers.strict import standard_promotion, strict_dtypes

__all__ = ["standard_promotion", "strict_dtypes"]
