"""What a mailbox is for: roles by SPECIAL-USE attribute (RFC 6154), by localised name failing that.

Pure tables. A role is written as the RFC writes its attribute: "\\Sent". What
Gmail's XLIST called otherwise is the same role. Names count only for those roles
that every server has and some do not mark, and only at the top level, below INBOX
or below Gmail's own "[Gmail]": "Projects/Archive" is nobody's \\Archive.

To add a language: its names in `_NAMES`, as the providers there show them.
"""

import unicodedata
from collections.abc import Collection, Sequence

INBOX = "INBOX"
ROLES = (
    "\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Important", "\\Inbox", "\\Junk", "\\Sent",
    "\\Trash",
)  # fmt: skip
ANY_ROLE = "a role: " + ", ".join(f'"\\{role}"' for role in ROLES)  # as a TOML string has it
_XLIST = {"\\allmail": "\\All", "\\spam": "\\Junk", "\\starred": "\\Flagged"}
_ROLE = {role.lower(): role for role in ROLES} | _XLIST
_TOPS = (INBOX, "[Gmail]", "[Google Mail]")

# en, de, fr, es, it, pt, nl, pl, ru, uk, cs, hu, el, tr, sv, da, nb, fi, zh, ja, ko
_NAMES = {
    "\\Archive": """
        Archive, Archives, Archived, Archiv, Archivo, Archivio, Arquivo, Archief, Archiwum, Архив,
        Архів, Archívum, Αρχείο, Arşiv, Arkiv, Arkisto, 归档, 存档, 封存, アーカイブ, 보관함""",
    "\\Drafts": """
        Drafts, Draft, Entwürfe, Entwurf, Brouillons, Brouillon, Borradores, Borrador, Bozze, Bozza,
        Rascunhos, Rascunho, Concepten, Kopie robocze, Wersje robocze, Szkice, Черновики, Чернетки,
        Koncepty, Piszkozatok, Πρόχειρα, Taslaklar, Utkast, Kladder, Luonnokset, 草稿, 草稿箱,
        草稿匣, 下書き, 임시보관함, 임시 보관함""",
    "\\Junk": """
        Junk, Spam, Junk E-mail, Junk Email, Junk Mail, Bulk, Bulk Mail, Junk-E-Mail, Spamverdacht,
        Courrier indésirable, Indésirables, Pourriel, Correo no deseado, No deseado,
        Posta indesiderata, Lixo eletrônico, Lixo eletrónico, E-mail de lixo, Ongewenste e-mail,
        Ongewenst, Wiadomości-śmieci, Niechciane, Спам, Нежелательная почта, Небажана пошта,
        Nevyžádaná pošta, Levélszemét, Ανεπιθύμητα, Önemsiz E-posta, Gereksiz, İstenmeyen,
        Skräppost, Uønsket post, Uønsket mail, Søppelpost, Roskaposti, 垃圾邮件, 垃圾郵件, 垃圾信件,
        广告邮件, 迷惑メール, 스팸, 스팸메일함""",
    "\\Sent": """
        Sent, Sent Items, Sent Messages, Sent Mail, Sent-Mail, Gesendet, Gesendete Elemente,
        Gesendete Objekte, Gesendete Nachrichten, Envoyés, Éléments envoyés, Messages envoyés,
        Objets envoyés, Courrier envoyé, Enviados, Elementos enviados, Mensajes enviados,
        Correo enviado, Inviata, Inviati, Posta inviata, Elementi inviati, Messaggi inviati,
        Enviadas, Itens enviados, Mensagens enviadas, E-mails enviados, Verzonden, Verzonden items,
        Verzonden berichten, Wysłane, Elementy wysłane, Wiadomości wysłane, Отправленные, Надіслані,
        Відправлені, Odeslané, Odeslaná pošta, Elküldött, Elküldött elemek, Απεσταλμένα,
        Gönderilmiş Öğeler, Gönderilmiş Postalar, Skickat, Skickade, Skickade objekt, Sendt,
        Sendt post, Sendte elementer, Lähetetyt, Lähetetyt viestit, 已发送, 已发送邮件, 已发邮件,
        已傳送, 寄件備份, 送信済み, 送信済みメール, 送信済みアイテム, 送信済みトレイ, 보낸편지함,
        보낸 편지함, 보낸메일함""",
    "\\Trash": """
        Trash, Bin, Deleted, Deleted Items, Deleted Messages, Wastebasket, Papierkorb, Gelöscht,
        Gelöschte Elemente, Gelöschte Objekte, Gelöschte Nachrichten, Corbeille, Éléments supprimés,
        Messages supprimés, Papelera, Papelera de reciclaje, Elementos eliminados, Eliminados,
        Cestino, Posta eliminata, Elementi eliminati, Lixo, Lixeira, Itens excluídos,
        Itens eliminados, Prullenbak, Prullenmand, Verwijderde items, Kosz, Elementy usunięte,
        Корзина, Удаленные, Удалённые, Кошик, Видалені, Koš, Odstraněná pošta, Lomtár, Kuka,
        Törölt elemek, Διαγραμμένα, Κάδος απορριμμάτων, Çöp, Çöp Kutusu, Silinmiş Öğeler,
        Papperskorgen, Papperskorg, Borttaget, Borttagna objekt, Papirkurv, Slettet post,
        Slettede elementer, Roskakori, Poistetut, 已删除, 已删除邮件, 已刪除的郵件, 刪除的郵件,
        垃圾桶, ゴミ箱, ごみ箱, 削除済みアイテム, 휴지통""",
}


def is_inbox(name: str) -> bool:
    """INBOX in any case (RFC 9051 §5.1)."""
    return name.lower() == "inbox"  # upper() would take a dotless i for an I


def role_called(word: str) -> str | None:
    """The role of that word in any case ("\\sent", XLIST's "\\Spam"), None when there is none."""
    return _ROLE.get(word.lower())


def roles_of_attributes(attributes: Collection[str]) -> list[str]:
    """The roles that the server itself gives to a mailbox, first what says most."""
    claimed = {role for word in attributes if (role := role_called(word))}
    return [role for role in ROLES if role in claimed]


def rank_by_name(path: Sequence[str]) -> tuple[str, int] | None:
    """The role that the name alone suggests and how usual the name is for it (0: most)."""
    if len(path) == 2 and path[0] in _TOPS:
        path = path[1:]
    return _BY_NAME.get(_folded(path[0])) if len(path) == 1 else None


def _folded(name: str) -> str:
    # Some servers keep what a Mac typed: letters and their accents apart.
    return unicodedata.normalize("NFC", name).casefold()


_BY_NAME = {
    _folded(name.strip()): (role, rank)
    for role, names in _NAMES.items()
    for rank, name in enumerate(names.split(","))
}
