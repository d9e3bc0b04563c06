# Mail by other people's clients: whole messages, by STARTTLS and by implicit TLS. Sourced by scripts/interop.

# What every client sends: dots at line starts, a false end, a long line, UTF-8, an empty line at the end of a paragraph.
cat >"$folder/body" <<'BODY'
.
..two dots, and a line of one dot above
.hidden? no
QUIT
BODY
{
    printf '%0900d\n' 0
    printf 'caf\303\251 \342\202\254\n\nthe last line\n'
} >>"$folder/body"
headers() {
    printf 'From: Ann <ann@client.test>\nTo: <%s@in.test>\nSubject: by %s\nMIME-Version: 1.0\n' "$1" "$1"
    printf 'Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n'
}
message() {
    { headers "$1" && cat "$folder/body"; } | sed 's/$/\r/'
}

# Waits for the messages to a user and compares each with what was sent; each came inside TLS if that is said.
cat >"$folder/arrived.py" <<'PYTHON'
import email, email.policy, os, pathlib, sys, time
user, count, protocol = sys.argv[1], int(sys.argv[2]), sys.argv[3]
folder = pathlib.Path(os.environ["folder"])
new = folder / "mail" / user / "new"
until = time.monotonic() + 20
while not new.is_dir() or len(list(new.iterdir())) < count:
    if time.monotonic() > until:
        sys.exit(f"not {count} messages to {user} within 20 s")
    time.sleep(0.05)
files = list(new.iterdir())
assert len(files) == count, f"{len(files)} messages to {user}"
for file in files:
    message = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
    body = message.get_content().replace("\r\n", "\n").rstrip("\n")
    sent = (folder / "body").read_text("utf-8").rstrip("\n")
    if user == "git-send-email":
        assert sent in body, f"the body changed: {body!r}"
    else:
        assert body == sent, f"the body changed: {body!r}"
    received = str(message["Received"])
    assert f"with {protocol} " in received, received
PYTHON
arrived() {
    python3 "$folder/arrived.py" "$@"
}

nmap_commands() {
    local said
    said=$(nmap -Pn -p "$port" --script +smtp-commands 127.0.0.1)
    local word
    for word in PIPELINING SIZE 8BITMIME SMTPUTF8 CHUNKING DSN STARTTLS ENHANCEDSTATUSCODES; do
        grep -q "smtp-commands:.*$word" <<<"$said" || { echo "no $word: $said"; return 1; }
    done
}

nmap_open_relay() {
    local said
    said=$(nmap -Pn -p "$port" --script +smtp-open-relay --script-args smtp-open-relay.domain=elsewhere.test 127.0.0.1)
    grep -q "all tests failed" <<<"$said" || { echo "$said"; return 1; }
}

s_client() {
    {
        printf 'EHLO client.test\nMAIL FROM:<ann@client.test>\nRCPT TO:<s_client@in.test>\nDATA\n'
        { headers s_client && cat "$folder/body"; } | sed 's/^\./../'
        printf '.\nQUIT\n'
    } | timeout 20 openssl s_client -starttls smtp -connect "127.0.0.1:$port" -servername localhost -CAfile "$authority" \
        -verify_hostname localhost -verify_return_error -tls1_3 -quiet -crlf
    arrived s_client 1 ESMTPS
}

by_swaks() {
    message swaks >"$folder/message"
    local tls
    for tls in "--tls --port $port" "--tls-on-connect --port $tls_port"; do
        swaks --server 127.0.0.1 $tls --tls-verify --tls-ca-path "$authority" --tls-sni localhost --timeout 20 \
            --ehlo client.test --from ann@client.test --to swaks@in.test --data "@$folder/message"
    done
    arrived swaks 2 ESMTPS
}

by_curl() {
    message curl >"$folder/message"
    local url
    for url in "--ssl-reqd smtp://localhost:$port" "smtps://localhost:$tls_port"; do
        curl -sSv --max-time 20 --cacert "$authority" $url/client.test --mail-from ann@client.test \
            --mail-rcpt curl@in.test --upload-file "$folder/message"
    done
    arrived curl 2 ESMTPS
}

cat >"$folder/message.py" <<'PYTHON'
import os, pathlib, ssl
from email.message import EmailMessage
from email.policy import SMTP
tls = ssl.create_default_context(cafile=os.environ["authority"])
port, tls_port = int(os.environ["port"]), int(os.environ["tls_port"])
def message(user):
    made = EmailMessage(policy=SMTP)
    made["From"], made["To"], made["Subject"] = "ann@client.test", f"{user}@in.test", f"by {user}"
    made.set_content(pathlib.Path(os.environ["folder"], "body").read_text("utf-8"), cte="8bit")
    return made
PYTHON

by_smtplib() {
    cat >"$folder/by_smtplib.py" <<'PYTHON'
import smtplib
from message import message, port, tls, tls_port
with smtplib.SMTP("localhost", port, "client.test", timeout=20) as client:
    client.starttls(context=tls)
    for _ in range(2):
        client.send_message(message("smtplib"), mail_options=["BODY=8BITMIME"])
    try:
        client.sendmail("ann@client.test", ["eve@elsewhere.test"], b"x")
        raise SystemExit("it relays")
    except smtplib.SMTPRecipientsRefused as refused:
        assert refused.recipients["eve@elsewhere.test"][0] == 550
with smtplib.SMTP_SSL("localhost", tls_port, "client.test", timeout=20, context=tls) as client:
    client.send_message(message("smtplib"), mail_options=["BODY=8BITMIME"])
PYTHON
    python3 "$folder/by_smtplib.py"
    arrived smtplib 3 ESMTPS
}

by_aiosmtplib() {
    cat >"$folder/by_aiosmtplib.py" <<'PYTHON'
import aiosmtplib, asyncio
from message import message, port, tls, tls_port
def send(**how):
    return aiosmtplib.send(message("aiosmtplib"), hostname="localhost", local_hostname="client.test",
                           tls_context=tls, timeout=20, **how)
async def main():
    starttls = [send(port=port, start_tls=True) for _ in range(8)]
    implicit = [send(port=tls_port, use_tls=True) for _ in range(8)]
    await asyncio.gather(*starttls, *implicit)
asyncio.run(main())
PYTHON
    "$tools/venv/bin/python" "$folder/by_aiosmtplib.py"
    arrived aiosmtplib 16 ESMTPS
}

by_nodemailer() {
    cat >"$folder/by_nodemailer.js" <<'NODE'
const fs = require("fs");
const nodemailer = require("nodemailer");
const { folder, port, tls_port } = process.env;
const mail = { from: "ann@client.test", to: "nodemailer@in.test", subject: "by nodemailer",
               text: fs.readFileSync(folder + "/body", "utf8") };
async function main() {
  for (const where of [{ port, requireTLS: true }, { port: tls_port, secure: true }]) {
    const pool = nodemailer.createTransport({ host: "localhost", name: "client.test", pool: true, ...where });
    await pool.verify();
    await Promise.all([1, 2, 3, 4, 5].map(() => pool.sendMail(mail)));
    pool.close();
  }
}
main().catch((problem) => { console.error(problem); process.exit(1); });
NODE
    timeout 60 node "$folder/by_nodemailer.js"
    arrived nodemailer 10 ESMTPS
}

by_git() {
    local git
    git=$(mailing_git)
    {
        printf 'From: Ann <ann@client.test>\nSubject: [PATCH] by git\nContent-Type: text/plain; charset=utf-8\n'
        printf 'Content-Transfer-Encoding: 8bit\n\n'
        cat "$folder/body"
    } >"$folder/0001.patch"
    # A folder and a home of its own: nobody's configuration, no repository.
    (cd "$folder" && HOME=$folder GIT_CONFIG_NOSYSTEM=1 GIT_CEILING_DIRECTORIES=$tools GIT_COMMITTER_NAME=Ann \
        GIT_COMMITTER_EMAIL=ann@client.test GIT_AUTHOR_NAME=Ann GIT_AUTHOR_EMAIL=ann@client.test timeout 60 "$git" send-email \
        --from ann@client.test --to git-send-email@in.test --smtp-server localhost --smtp-server-port "$port" \
        --smtp-encryption tls --smtp-ssl-cert-path "$authority" --smtp-domain client.test --confirm never \
        --suppress-cc all --no-validate --transfer-encoding quoted-printable 0001.patch)
    arrived git-send-email 1 ESMTPS
}

proves "nmap smtp-commands" nmap_commands "every extension is offered, and read by a stranger's parser"
proves "nmap smtp-open-relay" nmap_open_relay "no trick makes it an open relay"
proves "openssl s_client" s_client "STARTTLS with TLS 1.3, chain and name verified, pipelined message arrived whole"
proves swaks by_swaks "STARTTLS and implicit TLS, certificate verified, messages arrived whole"
proves curl by_curl "STARTTLS and implicit TLS, certificate verified, messages arrived whole"
proves smtplib by_smtplib "STARTTLS and implicit TLS, several messages a session arrived whole, relaying refused with 550"
proves aiosmtplib by_aiosmtplib "16 sessions at once, STARTTLS and implicit TLS, messages arrived whole"
proves nodemailer by_nodemailer "a pool by STARTTLS and one by implicit TLS, 10 messages arrived whole"
proves "git send-email" by_git "STARTTLS, certificate verified, patch arrived whole"
