"""Judges a scanner's report: `scanned.py testssl|sslscan|sslyze FILE` ends with status 1 and a line for each finding."""

import json
import re
import sys
import xml.etree.ElementTree

# What testssl.sh says of its own OpenSSL, not of the server.
OF_TESTSSL_ITSELF = {"engine_problem"}


def testssl(report):
    entries = json.loads(report)
    said = {entry["id"]: entry for entry in entries}
    # The last of each part that was asked for: none was cut off.
    for part in ("TLS1_3", "cipherlist_STRONG", "PFS", "cipher_order", "cert_numbers", "heartbleed", "RC4", "scanTime"):
        if part not in said:
            yield f"no {part} in the report: it is not whole"
    for entry in entries:
        if entry["severity"] not in ("OK", "INFO", "LOW", "DEBUG") and entry["id"] not in OF_TESTSSL_ITSELF:
            yield f"{entry['severity']} {entry['id']}: {entry['finding']}"


def sslscan(report):
    scan = xml.etree.ElementTree.fromstring(report).find("ssltest")
    of = lambda tag: [element.attrib for element in scan.findall(tag)]
    enabled = {one["type"] + one["version"] for one in of("protocol") if one["enabled"] == "1"}
    if enabled != {"tls1.2", "tls1.3"}:
        yield f"protocols {sorted(enabled)}"
    ciphers = of("cipher")
    if not ciphers:
        yield "no cipher"
    for cipher in ciphers:
        if cipher["strength"] not in ("strong", "acceptable") or not cipher.get("curve"):
            yield f"{cipher['sslversion']} {cipher['cipher']} is {cipher['strength']}"
    for group in of("group"):
        if not re.match("secp256r1|secp384r1|x25519", group["name"]):
            yield f"group {group['name']}"
    if any(one["supported"] != "0" for one in of("renegotiation")):
        yield "renegotiation"
    if any(one["supported"] != "0" for one in of("compression") if "supported" in one):
        yield "compression"
    if not of("heartbleed") or any(one["vulnerable"] != "0" for one in of("heartbleed")):
        yield "Heartbleed, or not tried"


def sslyze(report):
    (server,) = json.loads(report)["server_scan_results"]
    results = server["scan_result"]
    wanted = {
        "tls_compression": ("supports_compression", False),
        "openssl_ccs_injection": ("is_vulnerable_to_ccs_injection", False),
        "tls_fallback_scsv": ("supports_fallback_scsv", True),
        "heartbleed": ("is_vulnerable_to_heartbleed", False),
        "robot": ("robot_result", "NOT_VULNERABLE_RSA_NOT_SUPPORTED"),
        "session_renegotiation": ("is_vulnerable_to_client_renegotiation_dos", False),
        "tls_extended_master_secret": ("supports_ems_extension", True),
    }
    for scan, (key, value) in wanted.items():
        if results[scan]["status"] != "COMPLETED":
            yield f"{scan}: {results[scan]['status']} {results[scan].get('error_reason')}"
        elif results[scan]["result"][key] != value:
            yield f"{scan}: {key} is {results[scan]['result'][key]}"
    resumption = results["session_resumption"]["result"] or {}
    for kind in ("session_id_resumption_result", "tls_ticket_resumption_result"):
        if resumption.get(kind) != "NOT_SUPPORTED":
            yield f"{kind} is {resumption.get(kind)}"
    deployments = results["certificate_info"]["result"]["certificate_deployments"]
    if len(deployments) != 2:
        yield f"{len(deployments)} certificates where ECDSA and RSA are served"
    for deployment in deployments:
        if not any(one["was_validation_successful"] for one in deployment["path_validation_results"]):
            yield "a chain that does not verify"


judge, path = {"testssl": testssl, "sslscan": sslscan, "sslyze": sslyze}[sys.argv[1]], sys.argv[2]
with open(path) as file:
    findings = list(judge(file.read()))
print("\n".join(findings))
sys.exit(1 if findings else 0)
