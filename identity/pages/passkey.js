// Asks the browser for a passkey, and sends what that answers as the form in which it was asked for.
"use strict";

const octets = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (one) => one.charCodeAt(0));
const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)))
  .replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

const asked = {
  get: async ({ challenge, host }) => {
    const { id, response } = await navigator.credentials.get({
      publicKey: { challenge: octets(challenge), rpId: host, userVerification: "required" },
    });
    return {
      credential_id: id,
      client_data: text(response.clientDataJSON),
      authenticator_data: text(response.authenticatorData),
      signature: text(response.signature),
    };
  },
  create: async ({ challenge, host, person, handle, algorithms, registered }) => {
    const { response } = await navigator.credentials.create({
      publicKey: {
        challenge: octets(challenge),
        rp: { id: host, name: host },
        user: { id: octets(handle), name: person, displayName: person },
        pubKeyCredParams: algorithms.split(" ").map((alg) => ({ type: "public-key", alg: Number(alg) })),
        authenticatorSelection: { residentKey: "required", userVerification: "required" },
        excludeCredentials: registered.split(" ").filter(Boolean)
          .map((id) => ({ type: "public-key", id: octets(id) })),
        attestation: "none",
      },
    });
    return {
      client_data: text(response.clientDataJSON),
      authenticator_data: text(response.getAuthenticatorData()),
      public_key: text(response.getPublicKey()),
    };
  },
};

for (const form of document.querySelectorAll("form[data-passkey]")) {
  if (!window.PublicKeyCredential) continue;
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const wrong = form.querySelector("[role=alert]");
    wrong.hidden = true;
    try {
      const answer = await asked[form.dataset.passkey](form.dataset);
      for (const [name, value] of Object.entries(answer)) form.elements[name].value = value;
      form.submit();
    } catch {
      wrong.hidden = false;
    }
  });
}
