"use client";
// Features in React: on the server from an object of features, in the page also from a
// `FeatureClient`, whose changes render again.

import { createContext, createElement, useCallback, useContext, useSyncExternalStore } from "react";
import { ConfigurationError } from "./errors.js";
import { valueOf } from "./features.js";
import { own } from "./own.js";

const FeatureContext = createContext(null);

export function FeatureProvider({ features, client, children }) {
  const plain = typeof features?.toJSON === "function" ? features.toJSON() : features;
  return createElement(FeatureContext.Provider, { value: { features: plain, client } }, children);
}

export function useFeature(key, fallback) {
  const given = useContext(FeatureContext);
  if (given === null) throw new ConfigurationError("`useFeature` needs a `FeatureProvider` above it");
  const { features, client } = given;
  const initial = () => valueOf(own(features ?? {}, key), fallback);
  const current = () => {
    if (!client) return initial();
    try {
      return valueOf(client.get(key), fallback);
    } catch {
      // The client has no snapshot yet.
      return initial();
    }
  };
  const subscribe = useCallback((notify) => {
    if (!client) return () => {};
    const events = ["change", "fresh"];
    for (const event of events) client.addEventListener(event, notify);
    // The first snapshot is no change.
    client.ready.then(notify, () => {});
    return () => events.forEach((event) => client.removeEventListener(event, notify));
  }, [client]);
  return useSyncExternalStore(subscribe, current, initial);
}
