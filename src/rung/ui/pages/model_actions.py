"""The acts on models, versions and webhooks. Each is one request; its answer is the page to show next."""

from __future__ import annotations

from collections.abc import Callable

from rung.core.errors import Invalid
from rung.registry.approvals import Approve, Reject
from rung.registry.logged import DeleteModel, DeleteVersion, RestoreModel, RestoreVersion, UpdateVersion
from rung.registry.records import UpdateModel
from rung.registry.webhooks import RetryDelivery, UpdateWebhook
from rung.ui.blocks import Visit
from rung.ui.words import address


def approve_version(visit: Visit, form: dict[str, str]) -> str:
    """Approve what the page showed, by its digest."""
    model, number = _version(form)
    visit.ask(Approve(model=model, number=number, digest=_given(form, "digest"), comment=form.get("comment", "")))
    return address("models", model, number)


def reject_version(visit: Visit, form: dict[str, str]) -> str:
    """Say no to what the page showed."""
    model, number = _version(form)
    visit.ask(Reject(model=model, number=number, digest=_given(form, "digest"), comment=_given(form, "comment")))
    return address("models", model, number)


def describe_version(visit: Visit, form: dict[str, str]) -> str:
    """Write a version's description."""
    model, number = _version(form)
    visit.ask(UpdateVersion(model=model, number=number, description=form.get("note", "")))
    return address("models", model, number)


def tag_version(visit: Visit, form: dict[str, str]) -> str:
    """Set a tag of a version; an empty value removes it."""
    model, number = _version(form)
    visit.ask(UpdateVersion(model=model, number=number, tags={_given(form, "key"): form.get("value") or None}))
    return address("models", model, number)


def delete_version(visit: Visit, form: dict[str, str]) -> str:
    """Retire a version."""
    model, number = _version(form)
    visit.ask(DeleteVersion(model=model, number=number))
    return address("models", model)


def restore_version(visit: Visit, form: dict[str, str]) -> str:
    """Bring a version back."""
    model, number = _version(form)
    visit.ask(RestoreVersion(model=model, number=number))
    return address("models", model, number)


def describe_model(visit: Visit, form: dict[str, str]) -> str:
    """Write a model's description."""
    return address("models", visit.ask(UpdateModel(model=_given(form, "model"), description=form.get("note", ""))).name)


def tag_model(visit: Visit, form: dict[str, str]) -> str:
    """Set a tag of a model; an empty value removes it."""
    tags = {_given(form, "key"): form.get("value") or None}
    return address("models", visit.ask(UpdateModel(model=_given(form, "model"), tags=tags)).name)


def delete_model(visit: Visit, form: dict[str, str]) -> str:
    """Retire a model with its versions."""
    visit.ask(DeleteModel(model=_given(form, "model")))
    return address("models")


def restore_model(visit: Visit, form: dict[str, str]) -> str:
    """Bring a model back."""
    return address("models", visit.ask(RestoreModel(model=_given(form, "model"))).name)


def webhook_on(visit: Visit, form: dict[str, str]) -> str:
    """Switch a webhook on."""
    return address("webhooks", visit.ask(UpdateWebhook(id=_given(form, "webhook"), status="active")).id)


def webhook_off(visit: Visit, form: dict[str, str]) -> str:
    """Switch a webhook off."""
    return address("webhooks", visit.ask(UpdateWebhook(id=_given(form, "webhook"), status="disabled")).id)


def retry_delivery(visit: Visit, form: dict[str, str]) -> str:
    """Send a message again."""
    return address("webhooks", visit.ask(RetryDelivery(id=_given(form, "delivery"))).webhook)


MODELS: dict[str, Callable[[Visit, dict[str, str]], str]] = {
    "approve-version": approve_version,
    "reject-version": reject_version,
    "describe-version": describe_version,
    "tag-version": tag_version,
    "delete-version": delete_version,
    "restore-version": restore_version,
    "describe-model": describe_model,
    "tag-model": tag_model,
    "delete-model": delete_model,
    "restore-model": restore_model,
    "webhook-on": webhook_on,
    "webhook-off": webhook_off,
    "retry-delivery": retry_delivery,
}


def _version(form: dict[str, str]) -> tuple[str, int]:
    number = _given(form, "number")
    if not number.isdecimal() or len(number) > 9:  # noqa: PLR2004 - as far as numbers of versions reach
        raise Invalid(f"number is {number[:60]!r}, which numbers no version.", code="ui.bad_field", hint="Give a whole number.")
    return _given(form, "model"), int(number)


def _given(form: dict[str, str], name: str) -> str:
    value = form.get(name, "").strip()
    if not value:
        raise Invalid(f"The form says nothing for {name!r}.", code="ui.missing_field", hint="Fill in every field.")
    return value
