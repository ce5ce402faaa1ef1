"""Terraform and DVC against moto's server."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from .services import S3, Postgres, Server, answers, free_port, tool, wait_for

pytestmark = pytest.mark.services
ROOT = Path(__file__).resolve().parents[1]
TERRAFORM = ROOT / "examples" / "deployment" / "terraform"
MOTO = ROOT / "tests" / "terraform_moto"


def run(command: list[str], folder: Path, env: dict[str, str], code: int = 0, seconds: int = 300) -> str:
    said = subprocess.run(
        command, cwd=folder, env=os.environ | env, capture_output=True, text=True, check=False, timeout=seconds
    )
    assert said.returncode == code, said.stdout[-4000:] + said.stderr[-4000:]
    return said.stdout


@pytest.fixture
def terraform(tmp_path: Path) -> Iterator[tuple[str, Path, dict[str, str]]]:
    """The program, a copy of the configuration, and an environment in which it finds its provider."""
    program = tool("terraform")
    mirror = os.environ.get("T1DJAX_TERRAFORM_MIRROR") or next(
        (str(path.parent) for path in Path("/opt").glob("*/registry.terraform.io")), None
    )
    if mirror is None:
        pytest.skip("no mirror of Terraform's providers; name it in T1DJAX_TERRAFORM_MIRROR")
    settings = tmp_path / "terraform.rc"
    settings.write_text(f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n')
    shutil.copytree(TERRAFORM, tmp_path / "terraform", ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
    env = {"TF_CLI_CONFIG_FILE": str(settings), "TF_IN_AUTOMATION": "1", "TF_INPUT": "0", "CHECKPOINT_DISABLE": "1"}
    yield program, tmp_path / "terraform", env
    shutil.rmtree(tmp_path / "terraform")  # with a link to the provider


def test_terraform_is_formatted_valid_and_keeps_its_promises(terraform: tuple[str, Path, dict[str, str]]) -> None:
    program, folder, env = terraform
    run([program, "fmt", "-check", "-recursive"], folder, env)
    run([program, "init", "-backend=false"], folder, env)
    run([program, "validate"], folder, env)
    assert "0 failed" in run([program, "test", "-no-color"], folder, env)


def look_at_endpoints(moto: S3) -> None:
    """What the endpoints let through, as the cloud has it: keys of this account, to what is this deployment's."""
    account = moto.client("sts").get_caller_identity()["Account"]
    endpoints = moto.client("ec2", "eu-central-1").describe_vpc_endpoints()["VpcEndpoints"]
    policies = {
        endpoint["ServiceName"].removeprefix("com.amazonaws.eu-central-1."): json.loads(endpoint["PolicyDocument"])
        for endpoint in endpoints
    }
    assert set(policies) == {"s3", "ssm", "ssmmessages", "ecr.api", "ecr.dkr"}
    layers = "arn:aws:s3:::prod-eu-central-1-starport-layer-bucket/*"
    strangers = set()
    for service, policy in policies.items():
        for statement in policy["Statement"]:
            assert statement["Effect"] == "Allow"
            assert "*" not in str(statement["Action"])
            if statement.get("Condition", {}).get("StringEquals", {}).get("aws:PrincipalAccount") != account:
                strangers.add((service, statement["Action"], statement["Resource"]))
    assert strangers == {("s3", "s3:GetObject", layers)}
    of_s3 = {statement["Sid"]: statement for statement in policies["s3"]["Statement"]}
    data, results = (f"arn:aws:s3:::t1djax-{purpose}-{account}" for purpose in ("data", "results"))
    assert of_s3["List"]["Resource"] == [data, results]
    assert of_s3["Read"]["Resource"] == [f"{data}/*", f"{results}/*"]
    assert of_s3["Write"]["Resource"] == f"{results}/*"
    for sid in ("List", "Read", "Write"):
        assert of_s3[sid]["Condition"]["StringEquals"]["aws:ResourceAccount"] == account
    role = moto.client("iam").get_role_policy(RoleName="t1djax-machine", PolicyName="machine")["PolicyDocument"]
    network = {endpoint["VpcId"] for endpoint in endpoints}
    of_buckets = [statement for statement in role["Statement"] if "s3:" in str(statement["Action"])]
    assert len(of_buckets) == 3
    assert {statement["Condition"]["StringEquals"]["aws:SourceVpc"] for statement in of_buckets} == network


def test_terraform_applies_without_drift_and_goes_away(
    terraform: tuple[str, Path, dict[str, str]], moto_s3: S3
) -> None:
    program, folder, env = terraform
    env |= moto_s3.env | {"AWS_EC2_METADATA_DISABLED": "true"}
    shutil.copy(MOTO / "root.tf", folder / "override.tf")
    shutil.copy(MOTO / "ec2.tf", folder / "modules" / "ec2" / "override.tf")
    values = {
        "region": "eu-central-1",
        "ami_id": "ami-12c6146b",
        "spot": False,  # moto does not say afterwards that a machine is one
        "budget_USD": 100,
        "budget_e_mails": ["someone@example.org"],
        "stewards": ["arn:aws:iam::123456789012:user/steward"],
    }
    (folder / "test.auto.tfvars.json").write_text(json.dumps(values))
    options = {"bucket": S3.bucket, "key": "terraform.tfstate", "region": "eu-central-1", "use_path_style": "true"}
    backend = [f"-backend-config={name}={value}" for name, value in options.items()]
    run([program, "init", *backend], folder, env)
    apply = [program, "apply", "-auto-approve"]
    try:
        run(apply, folder, env)
    except AssertionError as e:
        # moto on a busy machine: a request that the provider sent again finds the rule gone that the first one revoked.
        if "InvalidPermission.NotFound" not in str(e):
            raise
        run(apply, folder, env)
    assert "terraform.tfstate" in moto_s3.files()
    client = moto_s3.client()
    bucket = json.loads(run([program, "output", "-json"], folder, env))["data_bucket"]["value"]
    rule = client.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    assert all(client.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())
    assert client.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    look_at_endpoints(moto_s3)
    run([program, "plan", "-detailed-exitcode"], folder, env)  # 2 were there drift
    run([program, "destroy", "-auto-approve"], folder, env, code=1)  # an audit trail does not go by itself
    logs = f"t1djax-logs-{bucket.rsplit('-', 1)[1]}"
    for version in client.list_object_versions(Bucket=logs)["Versions"]:
        client.delete_object(Bucket=logs, Key=version["Key"], VersionId=version["VersionId"])
    run([program, "destroy", "-auto-approve"], folder, env)
    assert [b["Name"] for b in client.list_buckets()["Buckets"] if b["Name"].startswith("t1djax-")] == []


def test_checkov() -> None:
    program = tool("checkov")
    said = run([program, "--directory", str(TERRAFORM), "--config-file", str(TERRAFORM / ".checkov.yaml")], ROOT, {})
    assert "Failed checks: 0" in said


def test_mlflow_of_the_stack_refuses_strangers(postgres: Postgres, moto_s3: S3, tmp_path: Path) -> None:
    """The start script of the image, with PostgreSQL and S3 behind it."""
    pytest.importorskip("mlflow")
    pytest.importorskip("flask_wtf", reason="mlflow[auth] is not installed")
    with contextlib.closing(postgres.connect()) as connection:
        connection.autocommit = True
        for name in ("mlflow", "mlflow_auth"):
            connection.cursor().execute(f"create database {name}")
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    password = "a password of twelve and more"  # pragma: allowlist secret
    for name in ("postgres_password", "mlflow_session_key", "s3_access_key", "s3_secret_key"):
        (secrets / name).write_text("test")
    for user in ("admin", "train", "airflow"):
        (secrets / f"mlflow_{user}_password").write_text(f"{password} {user}\n")
    port = free_port()
    env = {
        "SECRETS": str(secrets), "DATABASE_USER": "t1djax", "DATABASE_HOST": f"127.0.0.1:{postgres.port}",
        "TMPDIR": str(tmp_path), "HOST": "127.0.0.1", "PORT": str(port), "ARTIFACTS": f"s3://{S3.bucket}/stack",
        "ALLOWED_HOSTS": f"127.0.0.1:{port}", "MLFLOW_S3_ENDPOINT_URL": moto_s3.endpoint, "PYTHONWARNINGS": "",
        "AWS_DEFAULT_REGION": "eu-central-1", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PATH": f"{Path(sys.executable).parent}:{ROOT / 'examples/deployment'}:{os.environ['PATH']}",
    }  # fmt: skip
    uri = f"http://127.0.0.1:{port}"
    server = Server(["sh", str(ROOT / "examples/deployment/mlflow-start")], tmp_path / "log", env=env)

    def asks(user: str | None) -> int:
        request = urllib.request.Request(f"{uri}/api/2.0/mlflow/experiments/search?max_results=1")
        if user is not None:
            request.add_header("Authorization", "Basic " + base64.b64encode(user.encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    try:
        wait_for(lambda: server.check() is None and answers(f"{uri}/health"), "mlflow", 180)
        assert asks(None) == 401
        assert asks("admin:wrong") == 401
        assert asks(f"admin:{password} admin") == 200
        cli, told = [sys.executable, "-m", "t1djax.cli"], ["--tracking-uri", uri]
        train = [*cli, "train", "--model", "ode", "--interval-min", "60", "--no-figures", "--tracking", *told]
        login = lambda user: {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": f"{password} {user}"}
        for user, patient in (("airflow", "Pat3"), ("train", "Pat2")):  # into one experiment, one registered model
            results, own = str(tmp_path / user), login(user)
            run([*train, "--patients", patient, "--results", results], tmp_path, own)
            assert json.loads(run([*cli, "track", "status", results, "--json", *told], tmp_path, own))["complete"]
            run([*cli, "registry", "register", results, "--name", "both", *told], tmp_path, own)
        promote = ["registry", "promote", "--name", "both", "--target", "500", *told]
        run([*cli, *promote], tmp_path, login("airflow"))  # the challenger, which the other one registered
        assert any(key.startswith("stack/") and key.endswith("metadata.json") for key in moto_s3.files())
        assert password not in server.log.read_text()
    finally:
        server.end()


def test_pipeline_is_made_pushed_and_pulled(moto_s3: S3, tmp_path: Path) -> None:
    dvc = tool("dvc")
    folder = tmp_path / "reproduction"
    shutil.copytree(ROOT / "examples" / "reproduction", folder)
    shutil.copy(folder / "params-quick.yaml", folder / "params.yaml")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = moto_s3.env | {"DVC_NO_ANALYTICS": "1", "PATH": path}
    run(["git", "init", "-q"], folder, env)
    run([dvc, "remote", "modify", "--local", "store", "url", f"s3://{S3.bucket}/reproduction"], folder, env)
    run([dvc, "remote", "modify", "--local", "store", "endpointurl", moto_s3.endpoint], folder, env)
    run([dvc, "repro"], folder, env, seconds=600)
    metrics = json.loads(run([dvc, "metrics", "show", "--json"], folder, env))
    found = (
        metrics[""]["data"]["metrics.json"]["data"] if "" in metrics else metrics["workspace"]["data"]["metrics.json"]
    )
    found = found.get("data", found)
    assert set(found) == {"pinn", "ode"}
    assert found["ode"]["inverse"]["ksi_error_percent"] < 0.1
    assert len(list(folder.glob("figures/*/glucose.png"))) == 4
    assert "| PINN | 6.7" in (folder / "study/tables.md").read_text()

    # A file of a person beside it: a pointer for Git, the readings for the encrypted remote only.
    (folder / "patients" / "p1.txt").write_text("made up\n")
    run([dvc, "add", "patients/p1.txt"], folder, env)
    run([dvc, "push"], folder, env)
    keys = moto_s3.files("reproduction/")
    assert len(keys) > 10
    heads = [moto_s3.client().head_object(Bucket=S3.bucket, Key=key) for key in keys]
    assert {head["ServerSideEncryption"] for head in heads} == {"aws:kms"}
    seen = run(["git", "ls-files", "--others", "--exclude-standard"], folder, env).splitlines()
    assert [name for name in seen if "p1" in name] == ["patients/p1.txt.dvc"]

    before = {p.relative_to(folder): p.read_bytes() for p in folder.glob("results/**/*") if p.is_file()}
    for name in ("cohort", "results", "evaluation", "figures", ".dvc/cache"):
        shutil.rmtree(folder / name)
    (folder / "patients" / "p1.txt").unlink()
    run([dvc, "pull"], folder, env)
    assert (folder / "patients" / "p1.txt").read_text() == "made up\n"
    assert {p.relative_to(folder): p.read_bytes() for p in folder.glob("results/**/*") if p.is_file()} == before
    assert "up to date" in run([dvc, "status"], folder, env)
