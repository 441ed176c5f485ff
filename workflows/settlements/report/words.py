"""The words of a report, in the languages it is printed in."""

from collections.abc import Mapping
from typing import Literal

Language = Literal["ja", "en"]

WORDS: Mapping[str, tuple[str, str]] = {
    "title": ("精算報告書", "Settlement report"),
    "merchant": ("加盟店", "Merchant"),
    "store": ("店舗", "Store"),
    "business_date": ("営業日", "Business date"),
    "period": ("対象期間", "Period"),
    "status": ("状態", "Status"),
    "settlement": ("精算番号", "Settlement"),
    "closed": ("締め日時", "Closed"),
    "reconciled": ("照合日時", "Reconciled"),
    "by": ("担当", "by"),
    "totals": ("合計", "Totals"),
    "count": ("件数", "Count"),
    "gross": ("売上", "Gross"),
    "refunds": ("返金", "Refunds"),
    "fees": ("手数料", "Fees"),
    "adjustments": ("調整", "Adjustments"),
    "net": ("差引", "Net"),
    "late": ("遅延計上", "Late lines"),
    "in_doubt": ("結果未確定", "In doubt"),
    "by_method": ("決済手段別・事業者別・ブランド別", "By method, provider and brand"),
    "method": ("決済手段", "Method"),
    "provider": ("決済事業者", "Provider"),
    "brand": ("ブランド", "Brand"),
    "cash": ("現金", "Cash"),
    "card": ("カード", "Card"),
    "qr": ("QR", "QR"),
    "emoney": ("電子マネー", "E-money"),
    "external": ("端末", "Terminal"),
    "cash_expected": ("あるべき額", "Expected"),
    "cash_actual": ("実際の額", "Counted"),
    "cash_discrepancy": ("過不足", "Over or short"),
    "not_counted": ("未計数", "not counted yet"),
    "note": ("備考", "Note"),
    "reconciliation": ("決済事業者明細との照合", "Reconciliation with the providers' statements"),
    "never_reconciled": ("まだ照合されていません", "Not compared yet"),
    "run": ("照合回", "Run"),
    "category": ("区分", "Category"),
    "ours": ("当方", "Ours"),
    "theirs": ("先方", "Theirs"),
    "difference": ("差額", "Difference"),
    "fee_difference": ("手数料差額", "Difference in fees"),
    "sum": ("計", "Sum"),
    "uncompared": ("明細と照合していない取引", "Not compared with any statement"),
    "by_policy": ("明細なしの取り決め", "sends no statements, by policy"),
    "needs_acceptance": ("承認待ち", "waits for a person to accept it"),
    "accepted": ("照合なしで承認", "accepted without comparison"),
    "breaks": ("差異", "Breaks"),
    "no_breaks": ("差異はありません", "There are none"),
    "more_breaks": ("件は省略。全件は CSV または JSON にあります", "more: all of them are in the CSV and JSON exports"),
    "reference": ("参照番号", "Reference"),
    "age": ("経過日数", "Days"),
    "owner": ("担当者", "Owner"),
    "resolution": ("処理", "Resolution"),
    "open": ("未処理", "open"),
    "closed_status": ("締め済み", "closed"),
    "reconciled_status": ("照合済み", "reconciled"),
    "link": ("紐付け", "linked"),
    "adjust": ("調整", "adjusted"),
    "write_off": ("償却", "written off"),
    "ignore": ("対応不要", "ignored"),
    "matched": ("一致", "Matched"),
    "expected": ("明細待ち", "Expected"),
    "missing_at_provider": ("先方に無し", "Missing at the provider"),
    "missing_internally": ("当方に無し", "Missing in our books"),
    "amount_mismatch": ("金額相違", "Amount differs"),
    "currency_mismatch": ("通貨相違", "Currency differs"),
    "status_mismatch": ("状態相違", "Status differs"),
    "fee_mismatch": ("手数料相違", "Fee differs"),
    "duplicate_internal": ("当方重複", "Twice in our books"),
    "duplicate_provider": ("先方重複", "Twice at the provider"),
    "date_mismatch": ("日付相違", "Date differs"),
    "printed": ("出力日時", "Printed"),
}


def word(name: str | None, language: Language) -> str:
    """The word for ``name``; a name that has none (a provider's, a brand's) is its own."""
    if name is None:
        return "—"
    japanese, english = WORDS.get(name, (name, name))
    return japanese if language == "ja" else english
