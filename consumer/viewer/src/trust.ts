/** Which scripts may run beside this one (Trusted Types). */

/** Let scripts of this very host be workers, and nothing be made of text (Trusted Types). */
export function trustOwnScripts(): void {
  const factory = (window as unknown as { trustedTypes?: { createPolicy(name: string, rules: object): void } }).trustedTypes;
  factory?.createPolicy("default", {
    createScriptURL: (address: string) => {
      if (new URL(address, document.baseURI).origin !== location.origin) throw new TypeError("a script of another host");
      return address;
    },
  });
}
