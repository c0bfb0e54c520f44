from __future__ import annotations

import hashlib
import re

from argon2 import PasswordHasher
from typer.testing import CliRunner

from stream.cli.main import app
from stream.line.sections import DashboardOptions


def test_the_hash_of_a_password_can_stand_in_the_configuration_and_fits_the_password():
    said = CliRunner().invoke(app, ["password"], input="correct horse\ncorrect horse\n")
    assert said.exit_code == 0
    printed = said.output.splitlines()[-1]
    options = DashboardOptions.model_validate({"users": {"anna": {"password": printed}}})
    assert PasswordHasher().verify(options.users["anna"].password, "correct horse")
    assert "correct horse" not in said.output


def test_a_short_password_is_refused():
    assert CliRunner().invoke(app, ["password"], input="short\nshort\n").exit_code != 0


def test_a_token_is_shown_once_beside_the_hash_that_the_configuration_keeps():
    said = CliRunner().invoke(app, ["password", "--token"]).output
    token, sha256 = (re.search(pattern, said)[1] for pattern in (r"once\): (\S+)", r"sha256: (\S+)"))
    assert hashlib.sha256(token.encode()).hexdigest() == sha256
    assert DashboardOptions.model_validate({"tokens": {"mes": {"sha256": sha256}}}).tokens["mes"].role == "viewer"
