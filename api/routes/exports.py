"""Routes of exports and the printable report."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.dependencies import EntityId, StoreManager
from api.media_types import CSV, HTML, JSON, PDF
from api.openapi.error_responses import error_responses
from api.responses import file_response
from api.schemas.statements import ExportOut
from workflows.reports.compose import compose
from workflows.reports.export import export_csv, export_json
from workflows.reports.load import load_report
from workflows.reports.render_html import render_html
from workflows.reports.render_pdf import render_pdf

router = APIRouter(tags=["settlements"])

Lang = Annotated[
    Literal["ja", "en"] | None,
    Query(description="The language; the default is Japanese for yen and English for other currencies"),
]
REPORT_HEADERS = {
    # The page has no scripts; its style and font are inline.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; font-src data:",
    "Cache-Control": "no-store",
}


def _content(media_type: str, schema: dict[str, Any], description: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"description": description, "content": {media_type: {"schema": schema}}}}


TABLE = "A table in UTF-8: the lines, then the breaks; `record` distinguishes them. Amounts are minor units"
_TEXT = {"type": "string"}
_BINARY = {"type": "string", "format": "binary"}


@router.get(
    "/settlements/{settlement_id}/export.csv",
    response_class=Response,
    responses={
        **_content(CSV, _TEXT, TABLE),
        **error_responses(401, 403),
    },
)
async def get_export_csv(settlement_id: EntityId, caller: StoreManager) -> Response:
    """Export all lines and breaks of a settlement as one table."""
    pieces = export_csv(settlement_id, caller=caller)
    return await file_response(pieces, media_type=CSV, name=f"{settlement_id}.csv")


@router.get(
    "/settlements/{settlement_id}/export.json",
    response_model=ExportOut,
    responses=error_responses(401, 403),
)
async def get_export_json(settlement_id: EntityId, caller: StoreManager) -> Response:
    """Export a settlement with all its lines and breaks."""
    pieces = export_json(settlement_id, caller=caller)
    return await file_response(pieces, media_type=JSON, name=f"{settlement_id}.json")


@router.get(
    "/settlements/{settlement_id}/report",
    response_class=Response,
    responses={**_content(HTML, _TEXT, "A page without scripts"), **error_responses(401, 403, 409)},
)
async def get_report(settlement_id: EntityId, caller: StoreManager, lang: Lang = None) -> Response:
    """Return the report of a closed settlement as a page to print."""
    document = compose(await load_report(settlement_id, caller=caller), lang)
    return Response(await render_html(document), media_type=f"{HTML}; charset=utf-8", headers=REPORT_HEADERS)


@router.get(
    "/settlements/{settlement_id}/report.pdf",
    response_class=Response,
    responses={**_content(PDF, _BINARY, "A PDF"), **error_responses(401, 403, 409)},
)
async def get_report_pdf(settlement_id: EntityId, caller: StoreManager, lang: Lang = None) -> Response:
    """Return the report of a closed settlement as a PDF with an embedded font."""
    document = compose(await load_report(settlement_id, caller=caller), lang)
    name = {"Content-Disposition": f'inline; filename="{settlement_id}.pdf"', "Cache-Control": "no-store"}
    return Response(await render_pdf(document), media_type=PDF, headers=name)
