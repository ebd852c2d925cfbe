# SPDX-License-Identifier: Apache-2.0
"""The test runner: tests/run and the tiers. The folders of the tiers that boot hold their cases."""
